import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { LastSync, SyncReport, SyncSpec, SyncState } from '../../schemas/sync.js'
import { withDeadline } from '../modal/call.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { StorageRecord } from '../sandboxes/tags.js'
import { download } from './download.js'
import { syncIncomplete, toAppError } from './errors.js'
import { acquireSyncLock, readSyncState, type SyncLock } from './lock.js'
import { listVersions } from './manifest-store.js'
import type { OnProgress } from './report.js'
import { openStore, type StoreSources } from './s3/open-store.js'
import { AgentLauncher } from './transfer/agent.js'
import { upload } from './upload.js'
import { SandboxCommands } from './workspace/commands.js'
import { SandboxWorkspace } from './workspace/sandbox-workspace.js'
import { scripts } from './workspace/scripts.js'

interface SyncServiceOptions extends StoreSources { log: Log }

export interface SyncRequest extends Partial<Omit<SyncSpec, 'direction'>> {
  direction: SyncSpec['direction']
  onProgress?: OnProgress
  log?: Log
  /** How long to wait for a sync that is running. */
  waitMs?: number
  /** Leave alone what is newer in the workspace. */
  keepNewer?: boolean
  /** The sandbox is about to end. */
  isLast?: boolean
}

/** How long running syncs may take to release their locks when the service stops. */
const closeMs = 4000

/** Syncs workspaces of sandboxes with S3. All state is in Modal's tags, the sandbox and S3. */
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
  async sync (owned: OwnedSandbox, options: SyncRequest): Promise<SyncReport> {
    const { direction, log = this.#options.log } = options
    const storage = storageOf(owned)
    const ids = { sandboxId: owned.id, direction, bucket: storage.bucket, prefix: storage.prefix }
    log.info(ids, 'sync started')
    const stop = this.#stopper()
    const work = this.#sync(owned, storage, options, stop)
    this.#running.add(work)
    try {
      const report = await work
      const { failed, warnings = [], ...counts } = report
      log.info({ ...ids, ...counts, failed: failed.length, warnings: warnings.length }, 'sync completed')
      if (failed.length > 0) throw syncIncomplete(report)
      return report
    } catch (error) {
      throw toAppError(stop.signal.aborted ? stop.signal.reason : error)
    } finally {
      this.#running.delete(work)
      stop.abort()
    }
  }

  /** Whether a sync runs, how the last one ended, and a workspace's versions. @throws {AppError} as {@link sync}. */
  async state (owned: OwnedSandbox): Promise<SyncState> {
    const storage = storageOf(owned)
    try {
      const state = await readSyncState(new SandboxCommands(owned.sandbox))
      if (!storage.versioned) return state
      const store = await openStore(storage, this.#options, this.#closing.signal)
      try {
        return { ...state, versions: await listVersions(store) }
      } finally {
        store.close()
      }
    } catch (error) {
      throw toAppError(error)
    }
  }

  /** Does something to a workspace that no sync may see half-done. @throws {AppError} SYNC_ACTIVE, WORKSPACE_LOST. */
  async undisturbed<T> (owned: OwnedSandbox, work: () => Promise<T>): Promise<T> {
    if (owned.s3 === undefined) return await work()
    const lock = await acquireSyncLock(new SandboxCommands(owned.sandbox), () => {}).catch((error: unknown) => {
      throw toAppError(error)
    })
    try {
      return await work()
    } finally {
      await lock.release().catch(() => {})
    }
  }

  /** Stops running syncs. What they have transferred is complete, and the next sync continues from there. */
  async close (): Promise<void> {
    this.#closing.abort(new AppError('SHUTTING_DOWN'))
    await withDeadline(closeMs, () => Promise.allSettled([...this.#running])).catch(() => {})
  }

  async #sync (
    owned: OwnedSandbox, storage: StorageRecord, options: SyncRequest, stop: AbortController
  ): Promise<SyncReport> {
    const { direction, log = this.#options.log, waitMs = 0, onProgress } = options
    const { signal } = stop
    const root = owned.mountPath ?? owned.workdir
    const store = await openStore(storage, this.#options, signal)
    // Not with the signal: a sync that is stopped still releases its lock.
    const commands = new SandboxCommands(owned.sandbox)
    const then = { script: scripts.list, args: [root] }
    const acquire = () => acquireSyncLock(commands, (reason) => stop.abort(reason), { then, signal })
    const lock = await this.#waitFor(acquire, waitMs).catch((error: unknown) => {
      store.close()
      throw error
    })
    const stoppable = new SandboxCommands(owned.sandbox, signal)
    const workspace = new SandboxWorkspace(stoppable, root, lock.output)
    const agentLauncher = new AgentLauncher((command, input) => stoppable.start(command, input), root)
    let last: LastSync | undefined
    try {
      const common = {
        workspace,
        store,
        agentLauncher,
        prefix: storage.prefix,
        session: { id: owned.id, startedAt: Date.parse(owned.createdAt) },
        onProgress,
        dryRun: options.dryRun ?? false,
        delete: options.delete ?? false
      }
      const report = direction === 'upload'
        ? await upload({ ...common, versioned: storage.versioned, isLast: options.isLast ?? false })
        : await download({ ...common, version: options.version, keepNewer: options.keepNewer ?? false })
      if (!report.dryRun) last = { direction, finishedAt: new Date().toISOString(), report }
      return report
    } finally {
      store.close()
      await agentLauncher.close().catch(() => {})
      await lock.release(last).catch((err: unknown) => {
        log.warn({ sandboxId: owned.id, err }, 'sync lock could not be released')
      })
    }
  }

  /** Aborts when the service closes; once aborted, it stops listening. */
  #stopper (): AbortController {
    const stop = new AbortController()
    // Every request under way listens to it.
    setMaxListeners(0, stop.signal)
    const { signal } = this.#closing
    if (signal.aborted) stop.abort(signal.reason)
    signal.addEventListener('abort', () => stop.abort(signal.reason), { once: true, signal: stop.signal })
    return stop
  }

  /** Tries again while another sync has the lock. */
  async #waitFor (acquire: () => Promise<SyncLock>, waitMs: number): Promise<SyncLock> {
    for (const until = Date.now() + waitMs; ;) {
      try {
        return await acquire()
      } catch (error) {
        const isActive = error instanceof AppError && error.code === 'SYNC_ACTIVE'
        if (!isActive || Date.now() >= until) throw error
        await sleep(500, undefined, { signal: this.#closing.signal })
      }
    }
  }
}

function storageOf ({ s3 }: OwnedSandbox): StorageRecord {
  if (s3 === undefined) throw new AppError('NO_STORAGE')
  return s3
}
