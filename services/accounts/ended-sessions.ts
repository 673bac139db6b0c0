import type { ModalClient, Queue } from 'modal'
import { callModal } from '../modal/call.js'
import { unlessMissing } from '../modal/errors.js'
import { endedSessionsName } from '../modal/names.js'
import { sessionSeconds, type EndedSessions } from './browser-sessions.js'

const timeoutMs = 5000
/** How long an answer of Modal counts: what was ended at another replica is refused after this time at the latest. */
const freshMs = 30_000
const maxRemembered = 10_000

/**
 * Which sessions have ended, by Modal's word: the account's queue has a partition of the session's name, which Modal
 * itself removes after a week. A queue of the account's own, so that no account can fill another's.
 */
export class ModalEndedSessions implements EndedSessions {
  readonly #client: ModalClient
  readonly #queues = new Map<string, Queue>()
  readonly #answers = new Map<string, { ended: boolean, askedAt: number }>()
  readonly #asking = new Map<string, Promise<boolean>>()

  constructor (client: ModalClient) {
    this.#client = client
  }

  /** @throws {AppError} MODAL_UNAVAILABLE, MODAL_TIMEOUT and so on: the session has not ended. */
  async add (accountId: string, sessionId: string): Promise<void> {
    if (await this.#ask(accountId, sessionId)) return
    await callModal('session', 2 * timeoutMs, async () => {
      const queue = await this.#client.queues.fromName(endedSessionsName(accountId), { createIfMissing: true })
      await queue.put(true, { partition: sessionId, partitionTtlMs: sessionSeconds * 1000, timeoutMs })
    })
    this.#remember(sessionId, true)
  }

  /** Without an answer the session is not accepted: without Modal nothing else could be done with it, either. */
  async has (accountId: string, sessionId: string): Promise<boolean> {
    const answer = this.#answers.get(sessionId)
    if (answer?.ended) return true
    const age = answer === undefined ? Infinity : Date.now() - answer.askedAt
    if (age >= freshMs) return await this.#ask(accountId, sessionId)
    // In time, so that a session in use does not wait for Modal.
    if (age >= freshMs / 2) this.#ask(accountId, sessionId).catch(() => {})
    return false
  }

  /** Concurrent requests of a session share one question. */
  #ask (accountId: string, sessionId: string): Promise<boolean> {
    const running = this.#asking.get(sessionId)
    if (running !== undefined) return running
    const askedAt = Date.now()
    const asking = this.#count(accountId, sessionId).then((count) => {
      this.#remember(sessionId, count > 0, askedAt)
      return count > 0
    }).finally(() => this.#asking.delete(sessionId))
    this.#asking.set(sessionId, asking)
    return asking
  }

  async #count (accountId: string, sessionId: string): Promise<number> {
    return await callModal('session', timeoutMs, async () => {
      const known = this.#queues.get(accountId)
      const queue = known ?? await unlessMissing(this.#client.queues.fromName(endedSessionsName(accountId)))
      if (queue === undefined) return 0
      // Looked up again after an error: it may have been deleted.
      this.#queues.delete(accountId)
      const count = await queue.len({ partition: sessionId })
      keep(this.#queues, accountId, queue)
      return count
    })
  }

  #remember (sessionId: string, ended: boolean, askedAt = Date.now()) {
    if (this.#answers.get(sessionId)?.ended) return
    keep(this.#answers, sessionId, { ended, askedAt })
  }
}

/** Adds an entry; the one that was added first makes room for it. */
function keep<T> (map: Map<string, T>, key: string, value: T) {
  map.delete(key)
  map.set(key, value)
  if (map.size > maxRemembered) map.delete(map.keys().next().value!)
}
