import type { ModalClient, Sandbox } from 'modal'
import { chain, type AppError } from '../../errors.js'
import { mapConcurrently } from '../../lib/concurrently.js'
import type { Log } from '../../lib/log.js'
import { callModal, lookupMs } from '../modal/call.js'
import { decodeTags, encodeTags, type SandboxRecord } from './tags.js'

export interface ReaperOptions {
  client: ModalClient
  log: Log
  /** Only sandboxes that carry this name are looked at. */
  deployment: string
  /** Whether an owner, an account's app name, is still somebody's. */
  mayOwn: (owner: string) => boolean
  /** Milliseconds since the epoch. */
  now?: () => number
}

/** `overdue`: Modal should have ended it; `unfinished`: its create never ended well; `ownerless`: nobody sees it. */
export type ReapReason = 'overdue' | 'unfinished' | 'ownerless'
export interface Reaped { id: string, reason: ReapReason }

const minute = 60_000
/** Modal counts a lifetime from where the sandbox was placed: for a GPU that may take 21 minutes after its create. */
const overdueMs = 25 * minute
/** While replicas are replaced one by one, some know an account already that others don't. */
const ownerlessMs = 15 * minute
const terminateMs = minute

/**
 * Ends sandboxes that have no business to run any more, and would cost money unseen. It goes by what Modal lists, never
 * by what this process remembers, and reads tags only: nothing here counts as activity in a sandbox. Any number of
 * replicas may do it at once.
 */
export class Reaper {
  readonly #options: ReaperOptions
  readonly #now: () => number
  /** What does not change any more, by id, so that each sandbox is asked about once. */
  readonly #known = new Map<string, SandboxRecord>()
  readonly #ownerlessSince = new Map<string, number>()

  constructor (options: ReaperOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /** Looks at every sandbox of this deployment once. @returns what it has ended. @throws {AppError} no list. */
  async sweep (): Promise<Reaped[]> {
    const handles = await this.#list()
    const running = new Set(handles.map(({ sandboxId }) => sandboxId))
    for (const known of [this.#known, this.#ownerlessSince]) {
      for (const id of known.keys()) if (!running.has(id)) known.delete(id)
    }
    const reaped = await mapConcurrently(handles, async (handle) => {
      try {
        return await this.#look(handle)
      } catch (error) {
        // Ended by itself, or by another replica.
        if ((error as AppError).code === 'SANDBOX_NOT_FOUND') return
        this.#options.log.error({ sandboxId: handle.sandboxId, chain: chain(error) }, 'sandbox could not be reaped')
      }
    })
    return reaped.filter((one) => one !== undefined)
  }

  /** Across all accounts: a token may have named any, and after a restart nobody knows which. */
  async #list (): Promise<Sandbox[]> {
    const { client, deployment } = this.#options
    return await callModal('reaper list', 4 * lookupMs, async () => {
      const handles: Sandbox[] = []
      for await (const handle of client.sandboxes.list({ tags: encodeTags({ deployment }) })) handles.push(handle)
      return handles
    })
  }

  async #look (handle: Sandbox): Promise<Reaped | undefined> {
    const id = handle.sandboxId
    const record = this.#known.get(id) ?? await this.#read(handle)
    if (record === undefined) return
    if (record.preparing === undefined) this.#known.set(id, record)
    if (this.#reason(id, record) === undefined) return

    // What was read may be old by now: only what is true at this moment counts.
    const fresh = await this.#read(handle)
    const reason = fresh && this.#reason(id, fresh)
    if (reason === undefined || await callModal('reaper poll', lookupMs, () => handle.poll(), gone) !== null) return
    await callModal('reaper terminate', terminateMs, () => handle.terminate({ wait: true }), gone)
    const { owner, expiresAt, createdAt } = fresh!
    this.#options.log.warn({ sandboxId: id, reason, owner, createdAt, expiresAt }, 'sandbox reaped')
    return { id, reason }
  }

  async #read (handle: Sandbox): Promise<SandboxRecord | undefined> {
    const record = decodeTags(await callModal('reaper tags', lookupMs, () => handle.getTags(), gone))
    return record?.deployment === this.#options.deployment ? record : undefined
  }

  #reason (id: string, { owner, expiresAt, preparing }: SandboxRecord): ReapReason | undefined {
    const now = this.#now()
    if (now > Date.parse(expiresAt) + overdueMs) return 'overdue'
    if (preparing !== undefined && now > Date.parse(preparing)) return 'unfinished'
    if (this.#options.mayOwn(owner)) this.#ownerlessSince.delete(id)
    else if (!this.#ownerlessSince.has(id)) this.#ownerlessSince.set(id, now)
    else if (now > this.#ownerlessSince.get(id)! + ownerlessMs) return 'ownerless'
  }
}

const gone = { notFound: 'SANDBOX_NOT_FOUND', invalid: 'SANDBOX_NOT_FOUND', conflict: 'SANDBOX_NOT_FOUND' } as const
