import { chain, AppError } from '../../errors.js'
import type { SyncReport } from '../../schemas/sync.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { Log } from '../sandboxes/steps.js'
import type { SyncService } from './service.js'

const minute = 60_000
/** Another sync may be at it: the last one must not be given up for that. */
const patienceMs = 2 * minute
/** A repeated request for a sandbox joins the one that is still filling it. */
const joinMs = 60 * minute
/** Before its lifetime ends a sandbox has its work stored: a tenth of it before, but no more than this. */
const mostLeadMs = 10 * minute
const retryMs = 30_000

/** When workspaces are synced without being asked to: at a sandbox' begin and end, and after runs. */
export class SyncMoments {
  readonly #sync: SyncService
  readonly #log: Log
  readonly #timers = new Map<string, NodeJS.Timeout>()

  constructor (sync: SyncService, log: Log) {
    this.#sync = sync
    this.#log = log
  }

  /** Fills a new sandbox' workspace (3.1); work on a volume that S3 does not have yet stays. @throws {AppError} */
  async initialize (owned: OwnedSandbox, log: Log): Promise<SyncReport> {
    return await this.#sync.sync(owned, { direction: 'download', keepNewer: true, patienceMs: joinMs, log })
  }

  /** Stores the workspace of a sandbox that is about to end (2.8, 5.4). @throws {AppError} */
  async beforeTerminate (owned: OwnedSandbox, log: Log): Promise<SyncReport> {
    return await this.#sync.sync(owned, { direction: 'upload', patienceMs, log })
  }

  /** A run has ended. Never rejects: nobody waits for this, and the next sync takes up what this one could not do. */
  async afterRun (owned: OwnedSandbox): Promise<void> {
    if (owned.s3?.syncAfterRun !== true) return
    await this.#store(owned, 'after a run')
  }

  /** Stores the workspace shortly before the sandbox' lifetime ends. Every replica that knows it does; one is first. */
  watch (owned: OwnedSandbox): void {
    if (owned.s3?.syncOnTerminate !== true || this.#timers.has(owned.id)) return
    const lifetime = Date.parse(owned.expiresAt) - Date.parse(owned.createdAt)
    const dueIn = Date.parse(owned.expiresAt) - Math.min(mostLeadMs, lifetime / 10) - Date.now()
    if (dueIn <= 0) return
    this.#timers.set(owned.id, setTimeout(() => { this.#store(owned, 'before expiry') }, dueIn).unref())
  }

  /** The sandbox has ended. */
  forget (id: string): void {
    clearTimeout(this.#timers.get(id))
    this.#timers.delete(id)
  }

  close (): void {
    for (const id of this.#timers.keys()) this.forget(id)
  }

  /** Once more when something was in the way; a sync of another replica is as good. */
  async #store (owned: OwnedSandbox, occasion: string, again = true): Promise<void> {
    try {
      await this.#sync.sync(owned, { direction: 'upload' })
    } catch (error) {
      if (error instanceof AppError && ['SYNC_ACTIVE', 'SHUTTING_DOWN'].includes(error.code)) return
      if (await owned.sandbox.poll().catch(() => null) !== null) return this.forget(owned.id)
      this.#log.warn({ sandboxId: owned.id, occasion, chain: chain(error) }, 'workspace could not be stored')
      if (again) setTimeout(() => { this.#store(owned, occasion, false) }, retryMs).unref()
    }
  }
}
