import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { TerminalSize } from '../../schemas/terminal.js'
import { withDeadline } from '../modal/call.js'
import type { OwnedSandbox } from './owned.js'
import { Terminal, type Viewer } from './terminal.js'

const perSandbox = 8
/** How long a terminal stays that nobody looks at. */
const keptMs = 5 * 60_000
/** Less than the time that the process has to close in. */
const closeMs = 5000

/** The terminals that this process has opened. */
export class Terminals {
  readonly #open = new Map<string, Terminal>()
  readonly #unwatched = new Map<string, NodeJS.Timeout>()
  readonly #keptMs: number

  constructor (options: { keptMs?: number } = {}) {
    this.#keptMs = options.keptMs ?? keptMs
  }

  /** @throws {AppError} LIMIT_REACHED; as {@link Terminal.start}. */
  async open (owned: OwnedSandbox, size: TerminalSize, log: Log): Promise<Terminal> {
    const others = [...this.#open.values()].filter((terminal) => terminal.owned.id === owned.id)
    if (others.length >= perSandbox) {
      throw new AppError('LIMIT_REACHED', {
        message: `A sandbox may have ${perSandbox} terminals at a time.`,
        hint: 'End a shell first (exit).',
        details: { limit: perSandbox }
      })
    }
    const terminal = await Terminal.start(owned, size, log)
    this.#open.set(terminal.id, terminal)
    terminal.ended.finally(() => { this.#forget(terminal) })
    this.#keepWhileWatched(terminal)
    return terminal
  }

  /** @throws {AppError} TERMINAL_NOT_FOUND. */
  find (owned: OwnedSandbox, id: string): Terminal {
    const terminal = this.#open.get(id)
    if (terminal === undefined || terminal.isOver || terminal.owned.id !== owned.id) throw new AppError('TERMINAL_NOT_FOUND')
    return terminal
  }

  attach (terminal: Terminal, viewer: Viewer, from: number): void {
    terminal.attach(viewer, from)
    this.#keepWhileWatched(terminal)
  }

  detach (terminal: Terminal, viewer: Viewer): void {
    terminal.detach(viewer)
    this.#keepWhileWatched(terminal)
  }

  /** Ends all terminals before this process stops. */
  async close (): Promise<void> {
    const killed = [...this.#open.values()].map((terminal) => terminal.kill('shutdown'))
    await withDeadline(closeMs, () => Promise.all(killed)).catch(() => {})
  }

  #keepWhileWatched (terminal: Terminal) {
    clearTimeout(this.#unwatched.get(terminal.id))
    this.#unwatched.delete(terminal.id)
    if (terminal.isWatched || !this.#open.has(terminal.id)) return
    const timer = setTimeout(() => { terminal.kill('nobody is watching') }, this.#keptMs)
    this.#unwatched.set(terminal.id, timer.unref())
  }

  #forget (terminal: Terminal) {
    this.#open.delete(terminal.id)
    clearTimeout(this.#unwatched.get(terminal.id))
    this.#unwatched.delete(terminal.id)
  }
}
