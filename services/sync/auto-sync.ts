import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { SyncReport } from '../../schemas/sync.js'
import { expiryOf, idleSaveMs } from '../modal/lifetime.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import type { SyncRequest, SyncService } from './service.js'

const minuteMs = 60_000
/** Another sync may be running: that is no reason to give up the last one. */
const waitMs = 2 * minuteMs
/** A repeated request to create a sandbox waits for the first one, which still fills the workspace. */
const joinMs = 60 * minuteMs
const retryMs = 30_000

/** Syncs workspaces without being asked to: when a sandbox starts, after runs, and before the sandbox ends. */
export class AutoSync {
  readonly #sync: Pick<SyncService, 'sync'>
  readonly #log: Log
  readonly #expiring = new Map<string, NodeJS.Timeout>()
  readonly #idle = new Map<string, NodeJS.Timeout>()

  constructor (sync: Pick<SyncService, 'sync'>, log: Log) {
    this.#sync = sync
    this.#log = log
  }

  /** Fills the workspace of a new sandbox (3.1); newer work, on a volume, stays. @throws {AppError} */
  async initialize (owned: OwnedSandbox, log: Log): Promise<SyncReport> {
    return await this.#sync.sync(owned, { direction: 'download', keepNewer: true, waitMs: joinMs, log })
  }

  /** Stores the workspace of a sandbox that is about to end (2.8, 5.4). @throws {AppError} */
  async beforeTerminate (owned: OwnedSandbox, log: Log): Promise<SyncReport> {
    return await this.#save(owned, { waitMs, log })
  }

  /** After the end of a run. Never rejects: nobody waits for it, and the next sync does what this one could not. */
  async afterRun (owned: OwnedSandbox): Promise<void> {
    this.watch(owned)
    if (owned.s3?.syncAfterRun === true) await this.#store(owned, 'after a run')
  }

  /**
   * To be called whenever something happens in a sandbox: its workspace will be stored shortly before its lifetime
   * ends, and before Modal ends it for being idle. Every replica that has seen the sandbox does so; one is first.
   */
  watch (owned: OwnedSandbox): void {
    if (owned.s3?.syncOnTerminate !== true) return
    const { id } = owned
    const expiresIn = expiryOf(owned).saveAt - Date.now()
    if (!this.#expiring.has(id) && expiresIn > 0) this.#schedule(this.#expiring, owned, expiresIn, 'before expiry')
    const idleIn = idleSaveMs(owned)
    if (idleIn !== undefined) this.#schedule(this.#idle, owned, idleIn, 'before idle timeout')
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

  #schedule (timers: Map<string, NodeJS.Timeout>, owned: OwnedSandbox, delayMs: number, occasion: string) {
    clearTimeout(timers.get(owned.id))
    timers.set(owned.id, setTimeout(() => {
      timers.delete(owned.id)
      this.#store(owned, occasion)
    }, delayMs).unref())
  }

  /** Retries once after a failure; a sync of another replica is as good. */
  async #store (owned: OwnedSandbox, occasion: string, again = true): Promise<void> {
    try {
      await this.#save(owned)
    } catch (error) {
      if (error instanceof AppError && ['SYNC_ACTIVE', 'SHUTTING_DOWN'].includes(error.code)) return
      if (await owned.sandbox.poll().catch(() => null) !== null) return this.forget(owned.id)
      this.#log.warn({ sandboxId: owned.id, occasion, err: error }, 'workspace could not be stored')
      if (again) setTimeout(() => { this.#store(owned, occasion, false) }, retryMs).unref()
    }
  }

  /** When deleting is refused, stores without it. */
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
