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
/** Before a failed save is tried again: doubled each time, as long as nothing else has the files. */
const retryMs = 30_000
const longestRetryMs = 5 * minuteMs
/** The end is too near for another try. */
const lastRetryMs = 1000

/** Syncs workspaces without being asked to: when a sandbox starts, after runs, and before the sandbox ends. */
export class AutoSync {
  readonly #sync: Pick<SyncService, 'sync'>
  readonly #log: Log
  readonly #expiring = new Map<string, NodeJS.Timeout>()
  readonly #idle = new Map<string, NodeJS.Timeout>()
  readonly #retries = new Map<string, NodeJS.Timeout>()

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
    return await this.#save(owned, { waitMs, log, isLast: true })
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

  /** It could not be ended, as its workspace could not be stored: its lifetime is used to try again. */
  retry (owned: OwnedSandbox): void {
    this.watch(owned)
    this.#storeAgain(owned, 'after a refused end', 0)
  }

  /** The sandbox has ended. */
  forget (id: string): void {
    for (const timers of this.#timers) {
      clearTimeout(timers.get(id))
      timers.delete(id)
    }
  }

  close (): void {
    for (const id of this.#timers.flatMap((timers) => [...timers.keys()])) this.forget(id)
  }

  get #timers () { return [this.#expiring, this.#idle, this.#retries] }

  #schedule (
    timers: Map<string, NodeJS.Timeout>, owned: OwnedSandbox, delayMs: number, occasion: string, retries = 0
  ) {
    clearTimeout(timers.get(owned.id))
    timers.set(owned.id, setTimeout(() => {
      timers.delete(owned.id)
      this.#store(owned, occasion, retries)
    }, delayMs).unref())
  }

  /** Tries again after a failure; a sync of another replica is as good. */
  async #store (owned: OwnedSandbox, occasion: string, retries = 0): Promise<void> {
    try {
      await this.#save(owned)
    } catch (error) {
      const code = error instanceof AppError ? error.code : undefined
      if (code === 'SHUTTING_DOWN' || (code === 'SYNC_ACTIVE' && retries === 0)) return
      if (await owned.sandbox.poll().catch(() => null) !== null) return this.forget(owned.id)
      this.#log.warn({ sandboxId: owned.id, occasion, err: error }, 'workspace could not be stored')
      this.#storeAgain(owned, occasion, retries)
    }
  }

  #storeAgain (owned: OwnedSandbox, occasion: string, retries: number) {
    const delayMs = retryDelayMs(owned, retries)
    if (delayMs !== undefined) this.#schedule(this.#retries, owned, delayMs, occasion, retries + 1)
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

/**
 * How long to wait before a save is tried once more: once where a volume has the files, too; otherwise for as long as
 * the sandbox lives, and before Modal ends it for being idle, as each try counts as activity.
 */
function retryDelayMs (owned: OwnedSandbox, retries: number): number | undefined {
  if (owned.volume !== undefined) return retries === 0 ? retryMs : undefined
  const leftMs = expiryOf(owned).endsAt - Date.now()
  const delayMs = Math.min(retryMs * 2 ** retries, longestRetryMs, (idleSaveMs(owned) ?? Infinity) / 2, leftMs / 2)
  return delayMs < lastRetryMs ? undefined : delayMs
}
