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
  /** Shells on their way, each with its sandbox. */
  readonly #starting = new Map<Promise<Terminal>, string>()
  readonly #unwatched = new Map<string, NodeJS.Timeout>()
  readonly #keptMs: number
  #isClosing = false

  constructor (options: { keptMs?: number } = {}) {
    this.#keptMs = options.keptMs ?? keptMs
  }

  /** @throws {AppError} LIMIT_REACHED, SHUTTING_DOWN; as {@link Terminal.start}. */
  async open (owned: OwnedSandbox, size: TerminalSize, log: Log): Promise<Terminal> {
    if (this.#isClosing) throw new AppError('SHUTTING_DOWN')
    // One whose shell has ended stays until what the shell has started is gone.
    const running = [...this.#open.values()].filter((terminal) => !terminal.isOver).map((terminal) => terminal.owned.id)
    const taken = [...running, ...this.#starting.values()]
    if (taken.filter((id) => id === owned.id).length >= perSandbox) {
      throw new AppError('LIMIT_REACHED', {
        message: `A sandbox may have ${perSandbox} terminals at a time.`,
        hint: 'End a shell first (exit).',
        details: { limit: perSandbox }
      })
    }
    const starting = Terminal.start(owned, size, log)
    this.#starting.set(starting, owned.id)
    const terminal = await starting.finally(() => this.#starting.delete(starting))
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
    this.#isClosing = true
    const kill = async (terminal: Terminal) => await terminal.kill('shutdown')
    const killed = [
      ...[...this.#open.values()].map(kill),
      ...[...this.#starting.keys()].map(async (starting) => await starting.then(kill, () => {}))
    ]
    await withDeadline(closeMs, () => Promise.all(killed)).catch(() => {})
  }

  #keepWhileWatched (terminal: Terminal) {
    clearTimeout(this.#unwatched.get(terminal.id))
    this.#unwatched.delete(terminal.id)
    if (terminal.isWatched || !this.#open.has(terminal.id)) return
    const timer = setTimeout(() => {
      // When it could not be killed this is tried again.
      terminal.kill('nobody is watching').finally(() => this.#keepWhileWatched(terminal))
    }, this.#keptMs)
    this.#unwatched.set(terminal.id, timer.unref())
  }

  #forget (terminal: Terminal) {
    this.#open.delete(terminal.id)
    clearTimeout(this.#unwatched.get(terminal.id))
    this.#unwatched.delete(terminal.id)
  }
}
