import type { Saved } from './manifest.js'
import type { ObjectStore } from './object-store.js'
import type { Packs } from './packs.js'
import type { Target } from './plan-download.js'
import { Breaker, problemOf, type Tally } from './report.js'
import type { Workspace } from './workspace.js'

export interface Downloading {
  workspace: Workspace
  store: ObjectStore
  tally: Tally
  /** Those that may be used. */
  packs: Packs
}

/** What has become of the objects, whichever way they come. */
export class DownloadOutcome {
  readonly store: ObjectStore
  readonly tally: Tally
  /** What has been written, as it has to be found in the workspace; by path. */
  readonly written = new Map<string, Saved>()
  /** Files of it that were read again in their place, and are as S3 has them. */
  readonly proved = new Set<string>()
  readonly #breaker = new Breaker()
  #fatal: { error: unknown } | undefined

  constructor ({ store, tally }: Downloading) {
    this.store = store
    this.tally = tally
  }

  /** @param proved whether it was read again in its place as it was fetched. */
  placed ({ path, size }: Target, saved: Saved, proved = false): void {
    this.written.set(path, saved)
    if (proved) this.proved.add(path)
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
