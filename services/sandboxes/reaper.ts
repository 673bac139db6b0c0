import type { ModalClient, Sandbox } from 'modal'
import type { AppError } from '../../errors.js'
import { mapConcurrently } from '../../lib/concurrently.js'
import type { Log } from '../../lib/log.js'
import { callModal, lookupMs } from '../modal/call.js'
import { listRunningOfAll, type Listed } from '../modal/lists.js'
import type { Tags } from '../modal/wire-tags.js'
import { decodeTags, searchTags, type SandboxRecord } from './tags.js'

export interface ReaperOptions {
  client: ModalClient
  log: Log
  /** Only sandboxes that carry this name are looked at. */
  deployment: string
  /** Whether an owner (an account's app name) still has an account. */
  mayOwn: (owner: string) => boolean
  /** Milliseconds since the epoch. */
  now?: () => number
}

/** `overdue`: Modal should have ended it; `unfinished`: create interrupted; `ownerless`: account gone. */
export type ReapReason = 'overdue' | 'unfinished' | 'ownerless'
interface Reaped { id: string, reason: ReapReason }

const minute = 60_000
/** Modal counts a lifetime from the placement of the sandbox, which for a GPU may come 21 minutes after its create. */
const overdueMs = 25 * minute
/** During a rolling deployment some replicas know an account that others do not know yet. */
const ownerlessMs = 15 * minute
const terminateMs = minute

/**
 * Ends sandboxes that should no longer run and would cost money unseen. It goes by Modal's own list, never by what this
 * process remembers, and only reads tags, which Modal does not count as activity. Any number of replicas may run one.
 */
export class Reaper {
  readonly #options: ReaperOptions
  readonly #now: () => number
  /** Records that no longer change, by id, so that each sandbox's tags are read once. */
  readonly #records = new Map<string, SandboxRecord>()
  readonly #ownerlessSince = new Map<string, number>()

  constructor (options: ReaperOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /** Checks every sandbox of this deployment once. @returns those it has ended. @throws {AppError} without a list. */
  async sweep (): Promise<Reaped[]> {
    const listed = await this.#list()
    const running = new Set(listed.map(({ sandbox }) => sandbox.sandboxId))
    for (const remembered of [this.#records, this.#ownerlessSince]) {
      for (const id of remembered.keys()) if (!running.has(id)) remembered.delete(id)
    }
    const reaped = await mapConcurrently(listed, async (one) => {
      try {
        return await this.#check(one)
      } catch (err) {
        // Ended by itself, or by another replica.
        if ((err as AppError).code === 'SANDBOX_NOT_FOUND') return
        this.#options.log.error({ sandboxId: one.sandbox.sandboxId, err }, 'sandbox could not be reaped')
      }
    })
    return reaped.filter((one) => one !== undefined)
  }

  /** Across all accounts, as tokens may name accounts that no configuration lists. */
  async #list (): Promise<Listed[]> {
    const { client, deployment } = this.#options
    return await callModal('reaper list', 4 * lookupMs, async () => {
      const listed: Listed[] = []
      for await (const one of listRunningOfAll(client, searchTags({ deployment }))) listed.push(one)
      return listed
    })
  }

  async #check ({ sandbox: handle, tags }: Listed): Promise<Reaped | undefined> {
    const id = handle.sandboxId
    const record = this.#records.get(id) ?? await this.#read(handle, tags)
    if (record === undefined) return
    if (record.preparing === undefined) this.#records.set(id, record)
    if (this.#reason(id, record) === undefined) return

    // The record may be out of date: only what is true at this moment counts.
    const fresh = await this.#read(handle)
    const reason = fresh && this.#reason(id, fresh)
    if (reason === undefined || await callModal('reaper poll', lookupMs, () => handle.poll(), gone) !== null) return
    await callModal('reaper terminate', terminateMs, () => handle.terminate({ wait: true }), gone)
    const { owner, expiresAt, createdAt } = fresh!
    this.#options.log.warn({ sandboxId: id, reason, owner, createdAt, expiresAt }, 'sandbox reaped')
    return { id, reason }
  }

  async #read (handle: Sandbox, tags?: Tags): Promise<SandboxRecord | undefined> {
    const record = decodeTags(tags ?? await callModal('reaper tags', lookupMs, () => handle.getTags(), gone))
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
