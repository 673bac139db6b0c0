import { encodeHeader, tarEnd, tarPadding } from './tar.js'
import type { WriteEntry } from './workspace.js'

/** An archive of entries, piece by piece. */
export async function * tarArchive (entries: AsyncIterable<WriteEntry>): AsyncGenerator<Uint8Array> {
  for await (const entry of entries) {
    yield encodeHeader(entry)
    if (entry.type !== 'file' || entry.size === 0) continue
    if (entry.body instanceof Uint8Array) yield entry.body
    else yield * entry.body!
    yield tarPadding(entry.size)
  }
  yield tarEnd
}

/** Small chunks together, large ones as they are: every write to a process is a call. */
export async function * coalesce (chunks: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  let kept: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue
    kept.push(chunk)
    length += chunk.length
    if (length < size) continue
    yield kept.length === 1 ? kept[0]! : Buffer.concat(kept)
    kept = []
    length = 0
  }
  if (length > 0) yield Buffer.concat(kept)
}
