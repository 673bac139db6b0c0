import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { AppError, chain } from '../../errors.js'
import type { LastSync, SyncReport, SyncSpec, SyncState } from '../../schemas/sync.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { within, type Log } from '../sandboxes/steps.js'
import type { StorageRecord } from '../sandboxes/tags.js'
import { explain, incomplete } from './explain.js'
import { readState, takeLock, type Held } from './lock.js'
import { openStore, type StoreSources } from './open-store.js'
import type { OnProgress } from './report.js'
import { download } from './restore.js'
import { SandboxExec } from './sandbox-exec.js'
import { SandboxWorkspace } from './sandbox-workspace.js'
import { upload } from './save.js'
import { listScript } from './scripts.js'
import { listVersions } from './versions.js'

export interface SyncServiceOptions extends StoreSources { log: Log }

export interface SyncOptions extends Partial<Omit<SyncSpec, 'direction'>> {
  direction: SyncSpec['direction']
  onProgress?: OnProgress
  log?: Log
  /** How long to wait for a sync that is running. */
  patienceMs?: number
  /** Leave alone what is younger in the workspace. */
  keepNewer?: boolean
}

/** Running syncs get so long to give their place back when the service stops. */
const closeMs = 4000

/** Copies workspaces between sandboxes and S3. What it knows of them is in Modal's tags, the sandbox and S3. */
export class SyncService {
  readonly #options: SyncServiceOptions
  readonly #closing = new AbortController()
  readonly #running = new Set<Promise<unknown>>()

  constructor (options: SyncServiceOptions) {
    this.#options = options
    // Every request that is under way listens.
    setMaxListeners(0, this.#closing.signal)
  }

  /**
   * Syncs the workspace of a sandbox, one at a time.
   * @throws {AppError} NO_STORAGE, SYNC_ACTIVE, SYNC_REFUSED, VERSION_NOT_FOUND, WORKSPACE_LOST, S3_REFUSED,
   * S3_UNAVAILABLE; SYNC_INCOMPLETE with the report when single files failed (2.5).
   */
  async sync (owned: OwnedSandbox, options: SyncOptions): Promise<SyncReport> {
    const { direction, log = this.#options.log } = options
    const storage = storageOf(owned)
    const ids = { sandboxId: owned.id, direction, bucket: storage.bucket, prefix: storage.prefix }
    log.info(ids, 'sync started')
    const stop = this.#stopper()
    const work = this.#sync(owned, storage, options, stop)
    this.#running.add(work)
    try {
      const report = await work
      const { failed, ...counts } = report
      log.info({ ...ids, ...counts, failed: failed.length }, 'sync completed')
      if (failed.length > 0) throw incomplete(report)
      return report
    } catch (error) {
      throw explain(stop.signal.aborted ? stop.signal.reason : error)
    } finally {
      this.#running.delete(work)
      stop.abort()
    }
  }

  /** Whether a sync runs, how the last one went, and the saves of a versioned workspace. @throws {AppError} as sync. */
  async state (owned: OwnedSandbox): Promise<SyncState> {
    const storage = storageOf(owned)
    try {
      const state = await readState(new SandboxExec(owned.sandbox))
      if (!storage.versioned) return state
      const store = await openStore(storage, this.#options, this.#closing.signal)
      try {
        return { ...state, versions: await listVersions(store) }
      } finally {
        store.close()
      }
    } catch (error) {
      throw explain(error)
    }
  }

  /** Stops what runs; the workspace and S3 are whole as far as they came, and the next sync goes on from there. */
  async close (): Promise<void> {
    this.#closing.abort(new AppError('SHUTTING_DOWN'))
    await within(closeMs, () => Promise.allSettled([...this.#running])).catch(() => {})
  }

  async #sync (
    owned: OwnedSandbox, storage: StorageRecord, options: SyncOptions, stop: AbortController
  ): Promise<SyncReport> {
    const { direction, log = this.#options.log, patienceMs = 0, onProgress } = options
    const { signal } = stop
    const root = owned.mountPath ?? owned.workdir
    const store = await openStore(storage, this.#options, signal)
    // Not with the signal: a sync that is stopped gives its place back.
    const exec = new SandboxExec(owned.sandbox)
    const first = { script: listScript, args: [root] }
    const take = () => takeLock(exec, (reason) => stop.abort(reason), { first, signal })
    const held = await this.#take(take, patienceMs).catch((error: unknown) => {
      store.close()
      throw error
    })
    const workspace = new SandboxWorkspace(new SandboxExec(owned.sandbox, signal), root, held.output)
    let last: LastSync | undefined
    try {
      const common = {
        workspace,
        store,
        prefix: storage.prefix,
        onProgress,
        dryRun: options.dryRun ?? false,
        delete: options.delete ?? false
      }
      const report = direction === 'upload'
        ? await upload({ ...common, versioned: storage.versioned })
        : await download({ ...common, version: options.version, keepNewer: options.keepNewer ?? false })
      if (!report.dryRun) last = { direction, finishedAt: new Date().toISOString(), report }
      return report
    } finally {
      store.close()
      await workspace.withoutMover().catch(() => {})
      await held.leave(last).catch((error: unknown) => {
        log.warn({ sandboxId: owned.id, chain: chain(error) }, 'sync could not be signed off in the sandbox')
      })
    }
  }

  /** Aborts when the service ends; once aborted it does not listen any more. */
  #stopper (): AbortController {
    const stop = new AbortController()
    // Every request under way listens to it.
    setMaxListeners(0, stop.signal)
    const { signal } = this.#closing
    if (signal.aborted) stop.abort(signal.reason)
    signal.addEventListener('abort', () => stop.abort(signal.reason), { once: true, signal: stop.signal })
    return stop
  }

  async #take (take: () => Promise<Held>, patienceMs: number): Promise<Held> {
    for (const until = Date.now() + patienceMs; ;) {
      try {
        return await take()
      } catch (error) {
        if (!(error instanceof AppError) || Date.now() >= until) throw error
        await sleep(500, undefined, { signal: this.#closing.signal })
      }
    }
  }
}

function storageOf ({ s3 }: OwnedSandbox): StorageRecord {
  if (s3 === undefined) throw new AppError('NO_STORAGE')
  return s3
}
