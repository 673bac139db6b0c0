import type { SavedEntry } from '../manifest.js'
import type { Packs } from '../packs.js'
import type { Target } from '../plan-download.js'
import { Breaker, problemOf, type SyncStats } from '../report.js'
import type { ObjectStore } from '../s3/object-store.js'
import type { Workspace } from '../workspace/workspace.js'

export interface DownloadContext {
  workspace: Workspace
  store: ObjectStore
  tally: SyncStats
  /** Those that may be used. */
  packs: Packs
}

/** What has become of the objects, whichever way they come. */
export class DownloadOutcome {
  readonly store: ObjectStore
  readonly tally: SyncStats
  /** What has been written, as it has to be found in the workspace; by path. */
  readonly written = new Map<string, SavedEntry>()
  /** Files of it that were read again in their place, and are as S3 has them. */
  readonly verifiedInPlace = new Set<string>()
  readonly #breaker = new Breaker()
  #fatal: { error: unknown } | undefined

  constructor ({ store, tally }: DownloadContext) {
    this.store = store
    this.tally = tally
  }

  /** @param proved whether it was read again in its place as it was fetched. */
  placed ({ path, size }: Target, saved: SavedEntry, proved = false): void {
    this.written.set(path, saved)
    if (proved) this.verifiedInPlace.add(path)
    this.#breaker.succeeded()
    this.tally.add(1, size)
  }

  /** @throws what is no failure of S3. */
  failed (path: string, error: unknown): void {
    this.written.delete(path)
    this.tally.fail(problemOf(path, error))
    this.#breaker.failed(error)
  }

  /** Ends everything at the next look. */
  fatal (error: unknown): void {
    this.#fatal ??= { error }
  }

  /** @throws what ends everything. */
  check (): void {
    if (this.#fatal !== undefined) throw this.#fatal.error
    this.#breaker.check()
  }
}
