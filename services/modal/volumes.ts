import type { ModalClient } from 'modal'

export interface ListedVolume {
  name: string
  version: 1 | 2
  /** ISO 8601. */
  createdAt: string
}

const pageSize = 100
/** Modal's clock may be ahead of ours. */
const aheadSeconds = 86_400

/**
 * The volumes with a name in the client's environment, newest first. The SDK has no method for it, but its client of
 * Modal's API knows the call. Ends when a page brings nothing new, whether or not the server minds the page's size.
 */
export async function * listVolumes (client: ModalClient): AsyncGenerator<ListedVolume> {
  const seen = new Set<string>()
  for (let createdBefore = Date.now() / 1000 + aheadSeconds; ;) {
    const { items } = await client.cpClient.volumeList({
      environmentName: client.environmentName(), pagination: { maxObjects: pageSize, createdBefore }
    })
    const fresh = items.filter(({ volumeId }) => !seen.has(volumeId))
    let last: number | undefined
    for (const { volumeId, label, metadata, createdAt } of fresh) {
      seen.add(volumeId)
      last = metadata?.creationInfo?.createdAt ?? createdAt
      // What came before versions is of the first one.
      yield { name: label, version: metadata?.version === 2 ? 2 : 1, createdAt: new Date(last * 1000).toISOString() }
    }
    if (last === undefined || items.length < pageSize) return
    createdBefore = last
  }
}
