import { S3Error } from '../s3/errors.js'
import { toMetadata } from '../s3/metadata.js'
import type { ObjectStore } from '../s3/object-store.js'
import type { Entry, EntryType, Problem, Workspace } from '../workspace/workspace.js'
import type { AgentLauncher } from './agent.js'
import { keyOf, type SavedEntry, type Target } from './entries.js'
import { defaultPartSize, partSizeFor } from './limits.js'

/** Counts what is transferred, and collects what failed. */
interface TransferStats {
  /** @param bytes those that `provisional` has not counted. */
  copied (path: string, type: EntryType, bytes: number): void
  /** Counts bytes of a file that may yet fail. */
  provisional (): { add: (bytes: number) => void, undo: () => void }
  fail (problem: Problem): void
  warn (problem: Problem): void
}

export interface TransferContext {
  workspace: Workspace
  store: ObjectStore
  stats: TransferStats
  /** Without one all bytes pass through the service. */
  agentLauncher?: AgentLauncher | undefined
}

export interface UploadContext extends TransferContext {
  /** Where an entry's object goes, when not to its own path. */
  keyFor: (entry: Entry) => string | undefined
  /** The sandbox that the objects are to name as their origin. */
  session?: string | undefined
  onStored: (path: string, saved: SavedEntry) => void
}

const maxFailuresInARow = 40

/** Ends a sync in which everything fails, instead of trying every file of it for minutes. */
class CircuitBreaker {
  #failures = 0
  #open: { error: unknown } | undefined

  succeeded (): void {
    this.#failures = 0
  }

  failed (error: unknown): void {
    if (++this.#failures >= maxFailuresInARow) this.#open ??= { error }
  }

  /** @throws what failed, once so many in a row did. */
  check (): void {
    if (this.#open !== undefined) throw this.#open.error
  }
}

class Outcome {
  readonly store: ObjectStore
  readonly stats: TransferStats
  protected readonly breaker = new CircuitBreaker()
  #fatal: { error: unknown } | undefined

  constructor ({ store, stats }: TransferContext) {
    this.store = store
    this.stats = stats
  }

  /** Ends the transfer at the next check. */
  stopWith (error: unknown): void {
    this.#fatal ??= { error }
  }

  /** @throws what ends the transfer. */
  check (): void {
    if (this.#fatal !== undefined) throw this.#fatal.error
    this.breaker.check()
  }
}

export function isLarge ({ type, size }: Pick<Entry, 'type' | 'size'>): boolean {
  return type === 'file' && size > defaultPartSize
}

/** What has become of entries on their way to S3, and which keys and metadata their objects get. */
export class UploadOutcome extends Outcome {
  readonly #keyFor: UploadContext['keyFor']
  readonly #onStored: UploadContext['onStored']
  readonly #session: string | undefined

  constructor (context: UploadContext) {
    super(context)
    this.#keyFor = context.keyFor
    this.#onStored = context.onStored
    this.#session = context.session
  }

  objectFor (entry: Entry): { key: string, metadata: Record<string, string> } {
    const key = this.#keyFor(entry)
    const { path, type } = entry
    return {
      key: keyOf(path, { type, ...(key !== undefined && { key }) }),
      metadata: { ...toMetadata(entry), ...(this.#session !== undefined && { sandbox: this.#session }) }
    }
  }

  stored (entry: Entry, etag: string, hashes: string[]): void {
    const { path, type, mode, size, mtime } = entry
    const key = this.#keyFor(entry)
    const partSize = hashes.length > 1 ? partSizeFor(size) : 0
    const saved = { type, mode, size, mtime, etag, hashes, partSize, own: true }
    this.#onStored(path, key === undefined ? saved : { ...saved, key })
    this.breaker.succeeded()
    this.stats.copied(path, type, isLarge(entry) ? 0 : size)
  }

  /** An error that is not S3's ends the transfer. */
  failed (path: string, error: unknown): void {
    if (error instanceof S3Error) {
      this.stats.fail(problemOf(path, error))
      this.breaker.failed(error)
    } else this.stopWith(error)
  }

  unreadable (problem: Problem): void {
    this.stats.fail(problem)
  }
}

/** What has become of objects on their way into the workspace. */
export class DownloadOutcome extends Outcome {
  /** What has been written, as it has to be found in the workspace; by path. */
  readonly written = new Map<string, SavedEntry>()
  /** Files of it that were read again in their places, and are as S3 has them. */
  readonly verifiedInPlace = new Set<string>()

  restored ({ path, size, saved: known }: Target, saved: SavedEntry, isVerified = false): void {
    this.written.set(path, saved)
    if (isVerified) this.verifiedInPlace.add(path)
    this.breaker.succeeded()
    this.stats.copied(path, saved.type, size)
    if (known !== undefined && hasOtherContent(known, saved)) this.stats.warn({ path, ...wrongManifest })
  }

  /** @throws an error that is not S3's. */
  failed (path: string, error: unknown): void {
    this.written.delete(path)
    if (!(error instanceof S3Error)) throw error
    this.stats.fail(problemOf(path, error))
    this.breaker.failed(error)
  }
}

/** Whether the hashes of the same parts differ. */
function hasOtherContent (known: SavedEntry, found: SavedEntry): boolean {
  return known.partSize === found.partSize && known.hashes.some((hash, index) => hash !== found.hashes[index])
}

const wrongManifest = {
  code: 'MANIFEST_WRONG', message: 'The manifest has a wrong hash for it. By the ETag of its object its content is right.'
}

/** What a failed request means for one file. */
function problemOf (path: string, { kind, code }: S3Error): Problem {
  if (code === 'ContentMismatch') {
    return { path, code: 'CONTENT_MISMATCH', message: 'S3 gave other content than was stored, twice. Store it again, or remove it.' }
  }
  const message = kind === 'fatal' ? 'S3 refused it.' : 'S3 could not be reached, or was too slow, several times in a row.'
  return { path, code, message }
}
