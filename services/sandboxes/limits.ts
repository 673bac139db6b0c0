import type { App, ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import { unlessMissing } from '../modal/errors.js'
import { listRunning } from '../modal/lists.js'

/** What an account may be about to pay for: a request that creates a sandbox, or work at Modal that outlived it. */
interface Held extends Place { isCreating?: boolean, sandboxId?: string }

/**
 * `name` is the sandbox's at Modal. Of the requests with the same `identity` only one can have a sandbox, and all build
 * the same image.
 */
interface Place { name: string, identity: string }

/**
 * Counts sandboxes that are being created, so that concurrent requests cannot all take the last one of a limit. Between
 * replicas only Modal's list counts: each admits up to the limit before it sees what the others have started meanwhile.
 */
export class Reservations {
  readonly #held = new Map<string, Set<Held>>()

  take (account: Account, place: Place): Reservation {
    const held = this.#held.get(account.id) ?? new Set()
    this.#held.set(account.id, held)
    const before = [...held].filter(({ identity }) => identity !== place.identity)
    const own: Held = { ...place }
    held.add(own)
    return new Reservation(account.limits.sandboxes, () => before.filter((other) => held.has(other)), own, () => {
      held.delete(own)
      if (held.size === 0) this.#held.delete(account.id)
    })
  }
}

/** The place of one create request among the sandboxes of its account. */
class Reservation {
  readonly #limit: number
  readonly #earlier: () => Held[]
  readonly #own: Held
  readonly #onFree: () => void
  readonly #works = new Set<Promise<unknown>>()

  constructor (limit: number, earlier: () => Held[], own: Held, onFree: () => void) {
    this.#limit = limit
    this.#earlier = earlier
    this.#own = own
    this.#onFree = onFree
  }

  /** @throws {AppError} LIMIT_REACHED when Modal's running sandboxes and the earlier requests leave no place. */
  async check (client: ModalClient, { appId, name }: App): Promise<void> {
    const running = new Set<string>()
    // A sandbox that is being prepared is in both.
    const others = () => this.#earlier().filter(({ sandboxId }) => sandboxId === undefined || !running.has(sandboxId))
    const isFull = () => new Set(others().map(({ identity }) => identity)).size + running.size >= this.#limit
    for await (const { sandbox } of listRunning(client, { appId })) {
      running.add(sandbox.sandboxId)
      if (running.size >= this.#limit) break
    }
    // Modal may list a sandbox before it answers the request that creates it: that one must not count twice.
    if (isFull() && running.size < this.#limit) {
      await Promise.all(others().filter(({ isCreating }) => isCreating === true).map(async (held) => {
        const made = await unlessMissing(client.sandboxes.fromName(name!, held.name))
        if (made !== undefined) held.sandboxId ??= made.sandboxId
      }))
    }
    if (!isFull()) return
    throw new AppError('LIMIT_REACHED', {
      message: `Your account may have ${this.#limit} running sandboxes, including those that are being created.`, details: { limit: this.#limit }
    })
  }

  /** Its image is there: all that it can still have at Modal is the sandbox of its name. */
  creating (): void {
    this.#own.isCreating = true
  }

  /** The sandbox that was created in this place. */
  created (sandboxId: string): void {
    this.#own.sandboxId = sandboxId
  }

  /** Keeps the place until `work` is over: what Modal still carries out is paid for, even if nobody waits for it. */
  holdFor<T> (work: Promise<T>): Promise<T> {
    this.#works.add(work)
    return work
  }

  release (): void {
    Promise.allSettled(this.#works).then(this.#onFree)
  }
}

export type { Reservation }
