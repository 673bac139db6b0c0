import { checkName, environmentOf } from '../control/environments.js'
import type { ImageBuilds } from '../images/builds.js'
import { type ImageGetOrCreateMessage, resultStatus } from '../proto/messages.js'
import type { State } from '../control/state.js'
import { invalid, notFound } from '../control/status.js'
import type { Handlers } from './adapter.js'

interface ImageIdMessage { imageId: string }
interface JoinMessage extends ImageIdMessage { timeout: number, lastEntryId: string }
interface TagMessage { tag: string, environmentName: string }
interface PublishMessage extends ImageIdMessage, TagMessage { allowPublic: boolean }

const stdout = 1

/** Builds run in the background; ImageJoinStreaming gives their log and result. */
export function imageHandlers (state: State, images: ImageBuilds): Handlers {
  return {
    unary: {
      async ImageGetOrCreate (request: ImageGetOrCreateMessage) {
        const { id: imageId, build } = await images.request(request)
        if (build) return { imageId }
        return { imageId, result: { status: resultStatus.success }, metadata: metadata(await images.built(imageId)) }
      },
      async ImageFromId ({ imageId }: ImageIdMessage) {
        return { imageId, metadata: metadata(await images.built(imageId)) }
      },
      async ImageDelete ({ imageId }: ImageIdMessage) {
        await images.delete(imageId)
        return {}
      },
      async ImageGetByTag ({ tag, environmentName }: TagMessage) {
        const imageId = state.records.imageTags[tagKey(environmentName, tag)]
        if (imageId === undefined) throw notFound(`Image '${tag}' not found`)
        return { imageId }
      },
      async ImagePublish ({ imageId, tag, environmentName, allowPublic }: PublishMessage) {
        if (allowPublic) throw invalid('The local emulator has no public images')
        await images.built(imageId)
        state.records.imageTags[tagKey(environmentName, tag)] = imageId
        await state.save()
        return { imageId }
      }
    },
    serverStream: {
      async * ImageJoinStreaming ({ imageId, timeout, lastEntryId }: JoinMessage, { signal }) {
        const build = images.build(imageId)
        const stop = AbortSignal.any([signal, AbortSignal.timeout(Math.max(timeout, 1) * 1000)])
        let last = Number.parseInt(lastEntryId) || 0
        for await (const { number, text } of build.follow(last, stop)) {
          last = number
          yield { entryId: `${number}-0`, taskLogs: [{ data: text, fileDescriptor: stdout, timestamp: Date.now() / 1000 }] }
        }
        if (build.result) yield { entryId: `${last}-0`, result: build.result, eof: true }
      }
    }
  }

  function tagKey (environmentName: string, tag: string): string {
    const [name = '', version = 'latest'] = tag.split(':')
    return `${environmentOf(state, environmentName)}/${checkName(name, 'Image')}:${checkName(version, 'Image tag')}`
  }
}

function metadata ({ workdir }: { workdir?: string }): object {
  return workdir === undefined ? {} : { workdir }
}
