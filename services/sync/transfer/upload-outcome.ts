import { keyOf, type SavedEntry } from '../manifest.js'
import { Breaker, problemOf, type SyncStats } from '../report.js'
import { S3Error } from '../s3/errors.js'
import { toMetadata } from '../s3/metadata.js'
import type { ObjectStore } from '../s3/object-store.js'
import type { Entry, Problem, Workspace } from '../workspace/workspace.js'
import { partSize, partSizeFor } from './limits.js'

export interface UploadContext {
  workspace: Workspace
  store: ObjectStore
  tally: SyncStats
  /** Where an entry's object goes, when not to its own path. */
  keyFor: (entry: Entry) => string | undefined
  onStored: (path: string, saved: SavedEntry) => void
}

export const isLarge = ({ type, size }: Entry) => type === 'file' && size > partSize

/** What has become of the entries, whichever way they go; and where and as what they go. */
export class UploadOutcome {
  readonly store: ObjectStore
  readonly tally: SyncStats
  readonly #keyFor: UploadContext['keyFor']
  readonly #onStored: UploadContext['onStored']
  readonly #breaker = new Breaker()
  #fatal: { error: unknown } | undefined

  constructor ({ store, tally, keyFor, onStored }: UploadContext) {
    this.store = store
    this.tally = tally
    this.#keyFor = keyFor
    this.#onStored = onStored
  }

  target (entry: Entry): { key: string, metadata: Record<string, string> } {
    const key = this.#keyFor(entry)
    const { path, type } = entry
    return { key: keyOf(path, { type, ...(key !== undefined && { key }) }), metadata: toMetadata(entry) }
  }

  stored (entry: Entry, etag: string, hashes: string[]): void {
    const { path, type, mode, size, mtime } = entry
    const key = this.#keyFor(entry)
    const ofParts = hashes.length > 1 ? partSizeFor(size) : 0
    const saved = { type, mode, size, mtime, etag, hashes, partSize: ofParts, own: true }
    this.#onStored(path, key === undefined ? saved : { ...saved, key })
    this.#breaker.succeeded()
    if (type === 'directory') return
    this.tally.verified++
    this.tally.add(1, isLarge(entry) ? 0 : size)
  }

  /** What is no failure of S3 ends everything. */
  failed (path: string, error: unknown): void {
    if (error instanceof S3Error) {
      this.tally.fail(problemOf(path, error))
      this.#breaker.failed(error)
    } else this.#fatal ??= { error }
  }

  refused (problem: Problem): void {
    this.tally.fail(problem)
  }

  /** @throws what ends everything. */
  check (): void {
    if (this.#fatal !== undefined) throw this.#fatal.error
    this.#breaker.check()
  }
}
