import type { App, ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'

/**
 * Counts sandboxes that are being created, so that concurrent requests cannot all take the last one of a limit. Between
 * replicas only Modal's list counts: together they may exceed a limit by what they start at the same moment.
 */
export class Reservations {
  readonly #held = new Map<string, Set<symbol>>()

  take (account: Account) {
    const held = this.#held.get(account.id) ?? new Set()
    this.#held.set(account.id, held)
    const before = [...held]
    const own = Symbol(account.id)
    held.add(own)

    /** @throws {AppError} LIMIT_REACHED. */
    const check = async (client: ModalClient, { appId }: App) => {
      const limit = account.limits.sandboxes
      const others = before.filter((reservation) => held.has(reservation)).length
      const refused = new AppError('LIMIT_REACHED', {
        message: `Your account may have ${limit} running sandboxes.`, details: { limit }
      })
      if (others >= limit) throw refused
      const running = client.sandboxes.list({ appId })
      for (let count = others; !(await running.next()).done;) if (++count >= limit) throw refused
    }
    const release = () => {
      held.delete(own)
      if (held.size === 0) this.#held.delete(account.id)
    }
    return { check, release }
  }
}
