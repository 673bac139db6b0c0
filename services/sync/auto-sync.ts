import { chain, AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { SyncReport } from '../../schemas/sync.js'
import { expiryOf, idleSaveMs } from '../modal/lifetime.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { SyncRequest, SyncService } from './service.js'

const minute = 60_000
/** Another sync may be at it: the last one must not be given up for that. */
const patienceMs = 2 * minute
/** A repeated request for a sandbox joins the one that is still filling it. */
const joinMs = 60 * minute
const retryMs = 30_000

/** When workspaces are synced without being asked to: at a sandbox' begin and end, and after runs. */
export class AutoSync {
  readonly #sync: Pick<SyncService, 'sync'>
  readonly #log: Log
  readonly #expiring = new Map<string, NodeJS.Timeout>()
  readonly #idle = new Map<string, NodeJS.Timeout>()

  constructor (sync: Pick<SyncService, 'sync'>, log: Log) {
    this.#sync = sync
    this.#log = log
  }

  /** Fills a new sandbox' workspace (3.1); work on a volume that S3 does not have yet stays. @throws {AppError} */
  async initialize (owned: OwnedSandbox, log: Log): Promise<SyncReport> {
    return await this.#sync.sync(owned, { direction: 'download', keepNewer: true, patienceMs: joinMs, log })
  }

  /** Stores the workspace of a sandbox that is about to end (2.8, 5.4). @throws {AppError} */
  async beforeTerminate (owned: OwnedSandbox, log: Log): Promise<SyncReport> {
    return await this.#save(owned, { patienceMs, log })
  }

  /** A run has ended. Never rejects: nobody waits for this, and the next sync takes up what this one could not do. */
  async afterRun (owned: OwnedSandbox): Promise<void> {
    this.watch(owned)
    if (owned.s3?.syncAfterRun === true) await this.#store(owned, 'after a run')
  }

  /**
   * Something happens in a sandbox: its workspace is to be stored shortly before its lifetime ends, and before Modal
   * takes it for idle. Every replica that sees a sandbox does it; one is first.
   */
  watch (owned: OwnedSandbox): void {
    if (owned.s3?.syncOnTerminate !== true) return
    const { id } = owned
    const expiresIn = expiryOf(owned).saveAt - Date.now()
    if (!this.#expiring.has(id) && expiresIn > 0) this.#at(this.#expiring, owned, expiresIn, 'before expiry')
    const idleIn = idleSaveMs(owned)
    if (idleIn !== undefined) this.#at(this.#idle, owned, idleIn, 'before it is idle for too long')
  }

  /** The sandbox has ended. */
  forget (id: string): void {
    for (const timers of [this.#expiring, this.#idle]) {
      clearTimeout(timers.get(id))
      timers.delete(id)
    }
  }

  close (): void {
    for (const id of [...this.#expiring.keys(), ...this.#idle.keys()]) this.forget(id)
  }

  #at (timers: Map<string, NodeJS.Timeout>, owned: OwnedSandbox, inMs: number, occasion: string) {
    clearTimeout(timers.get(owned.id))
    timers.set(owned.id, setTimeout(() => {
      timers.delete(owned.id)
      this.#store(owned, occasion)
    }, inMs).unref())
  }

  /** Once more when something was in the way; a sync of another replica is as good. */
  async #store (owned: OwnedSandbox, occasion: string, again = true): Promise<void> {
    try {
      await this.#save(owned)
    } catch (error) {
      if (error instanceof AppError && ['SYNC_ACTIVE', 'SHUTTING_DOWN'].includes(error.code)) return
      if (await owned.sandbox.poll().catch(() => null) !== null) return this.forget(owned.id)
      this.#log.warn({ sandboxId: owned.id, occasion, chain: chain(error) }, 'workspace could not be stored')
      if (again) setTimeout(() => { this.#store(owned, occasion, false) }, retryMs).unref()
    }
  }

  /** What must not be deleted is no reason not to store the rest. */
  async #save (owned: OwnedSandbox, options: Partial<SyncRequest> = {}): Promise<SyncReport> {
    const save = async (isDeleting: boolean) => {
      return await this.#sync.sync(owned, { ...options, direction: 'upload', delete: isDeleting })
    }
    if (owned.s3?.delete !== true) return await save(false)
    return await save(true).catch(async (error: unknown) => {
      if (!(error instanceof AppError) || error.code !== 'SYNC_REFUSED') throw error
      return await save(false)
    })
  }
}
