import type { ModalClient } from 'modal'

const pageSize = 100
/** Modal's clock may be ahead of ours. */
const aheadSeconds = 86_400

/**
 * Names of the volumes in the client's environment, newest first. The SDK has no method for it, but its client of
 * Modal's API knows the call. Ends when a page brings nothing new, whether or not the server minds the page's size.
 */
export async function * volumeNames (client: ModalClient): AsyncGenerator<string> {
  const seen = new Set<string>()
  for (let createdBefore = Date.now() / 1000 + aheadSeconds; ;) {
    const { items } = await client.cpClient.volumeList({
      environmentName: client.environmentName(), pagination: { maxObjects: pageSize, createdBefore }
    })
    const fresh = items.filter(({ volumeId }) => !seen.has(volumeId))
    for (const { volumeId, label } of fresh) {
      seen.add(volumeId)
      yield label
    }
    const last = fresh.at(-1)
    if (last === undefined || items.length < pageSize) return
    createdBefore = last.metadata?.creationInfo?.createdAt ?? last.createdAt
  }
}
