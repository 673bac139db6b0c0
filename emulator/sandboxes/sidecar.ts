import { Readable } from 'node:stream'
import type { Container } from '../container/types.js'
import type { BuiltImage } from '../images/store.js'
import type { GenericResult, VolumeMountMessage } from '../proto/messages.js'
import { resultOf } from './result.js'

/** Where commands, snapshots and mounts of a sandbox take place. */
export interface Inside {
  /** Resolves when the container runs; rejects when it could not be started. */
  readonly started: Promise<Container>
  readonly running: boolean
  readonly image: BuiltImage
  readonly volumeMounts: VolumeMountMessage[]
}

type SidecarInfo = Pick<Sidecar, 'id' | 'name' | 'image' | 'volumeMounts'>

/** Another container of a sandbox, with an image of its own, which ends with the sandbox at the latest. */
export class Sidecar implements Inside {
  readonly id: string
  readonly name: string
  readonly image: BuiltImage
  readonly volumeMounts: VolumeMountMessage[]
  readonly started: Promise<Container>
  /** Resolves when the result is known, after the final commit of the volumes. */
  readonly ended: Promise<void>
  result: GenericResult | undefined
  #isTerminated = false

  constructor (info: SidecarInfo, start: () => Promise<Container>) {
    this.id = info.id
    this.name = info.name
    this.image = info.image
    this.volumeMounts = info.volumeMounts
    this.started = start()
    this.ended = this.started.then((container) => this.#watch(container))
    this.ended.catch(() => {})
  }

  get running (): boolean { return this.result === undefined }

  async stop (): Promise<void> {
    if (!this.running) return
    this.#isTerminated = true
    await (await this.started).stop()
    await this.ended
  }

  async #watch (container: Container): Promise<void> {
    // No call reads it, and a process whose output is not read would wait at some time.
    for (const spool of [container.main.stdout, container.main.stderr]) {
      Readable.from(spool.read(0)).on('error', () => {}).resume()
    }
    const status = await container.exited
    this.result = resultOf(this.#isTerminated ? 'terminated' : undefined, status)
  }
}
