import { setTimeout as sleep } from 'node:timers/promises'
import { AppError } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import type { Log } from '../../lib/log.js'
import type { TerminalSize } from '../../schemas/terminal.js'
import { killMarked } from '../modal/kill.js'
import { cannotStart, execMarker, explainFailure, runCommand, SandboxProcess } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from './owned.js'
import { FirstLine, InputQueue, OutputTail } from './terminal-streams.js'

const script = loadScript(import.meta.url, 'terminal.sh')
const startMs = 60_000
/** As when a terminal is closed; an interactive shell ignores SIGTERM. */
const hangUp = [{ signal: 'HUP', waitMs: 1000 }, { signal: 'KILL', waitMs: 2000 }] as const

/** How long a shell may take to end that was killed. */
const endMs = 1500
const tickMs = 50

/** Who looks at a terminal. */
export interface Viewer {
  /** @param from the position of the output that follows. */
  open (terminalId: string, from: number): void
  /** Awaited before more is read. */
  output (bytes: Uint8Array): Promise<void> | void
  exit (exitCode: number): void
  fail (error: AppError): void
  /** Somebody else looks at it now. */
  replaced (): void
}

interface TerminalParts { id: string, owned: OwnedSandbox, process: SandboxProcess, log: Log }

/**
 * An interactive shell in a sandbox. When its viewer has gone it stays for a while, so that one who comes back finds it
 * and the end of its output. It belongs to this process: another replica does not know it.
 */
export class Terminal {
  readonly id: string
  readonly owned: OwnedSandbox
  readonly #process: SandboxProcess
  readonly #log: Log
  readonly #input = new InputQueue()
  readonly #output = new OutputTail()
  /** The first line is the terminal's device, which is not for the viewer; it is empty in an image without `tty`. */
  readonly #name = new FirstLine()
  #viewer: Viewer | undefined
  #size: TerminalSize | undefined
  #resizing = false
  #killing: Promise<void> | undefined
  /** Whether the shell has ended: nothing would be said to another viewer. */
  isOver = false
  /** Resolves when the shell and all that it has started are gone. */
  readonly ended: Promise<void>

  private constructor ({ id, owned, process, log }: TerminalParts) {
    this.id = id
    this.owned = owned
    this.#process = process
    this.#log = log
    this.ended = this.#run()
  }

  /** @throws {AppError} COMMAND_FAILED, SANDBOX_ENDED, MODAL_*. */
  static async start (owned: OwnedSandbox, { rows, columns }: TerminalSize, log: Log): Promise<Terminal> {
    const id = randomId('term')
    const command = ['sh', '-c', script, 'terminal', String(rows), String(columns)]
    try {
      const process = await SandboxProcess.start(owned.sandbox, command, {
        step: 'terminal',
        pty: true,
        workdir: owned.workdir,
        marker: id,
        startMs,
        meanings: cannotStart
      })
      const terminal = new Terminal({ id, owned, process, log })
      log.info(terminal.#ids, 'terminal opened')
      return terminal
    } catch (error) {
      throw await explainFailure(error, owned.sandbox, 'terminal')
    }
  }

  /** For log lines. */
  get #ids () {
    return { terminalId: this.id, sandboxId: this.owned.id }
  }

  /** Shows it to one viewer, instead of an earlier one. @param from how many bytes of its output are known. */
  attach (viewer: Viewer, from: number): void {
    this.#viewer?.replaced()
    const { start, bytes } = this.#output.since(from)
    viewer.open(this.id, start)
    // What is in the buffer is little; what comes next waits for the viewer.
    if (bytes.length > 0) viewer.output(bytes)
    this.#viewer = viewer
  }

  detach (viewer: Viewer): void {
    if (this.#viewer === viewer) this.#viewer = undefined
  }

  get isWatched (): boolean {
    return this.#viewer !== undefined
  }

  /** @returns resolves when the sandbox has taken so much that more may come. */
  async write (bytes: Uint8Array): Promise<void> {
    await this.#input.push(bytes)
  }

  /** The SDK can't tell a terminal its size, so a command does. */
  async resize (size: TerminalSize): Promise<void> {
    this.#size = size
    if (this.#resizing) return
    this.#resizing = true
    try {
      for (let wanted; this.#device !== undefined && (wanted = this.#size) !== undefined;) {
        this.#size = undefined
        const { rows, columns } = wanted
        const command = ['stty', '-F', this.#device, 'rows', String(rows), 'cols', String(columns)]
        await runCommand(this.owned.sandbox, 'resize terminal', command)
      }
    } catch (err) {
      this.#log.warn({ ...this.#ids, err }, 'terminal not resized')
    } finally {
      this.#resizing = false
    }
  }

  /**
   * Ends the shell and everything it has started. Never rejects: what could not be ended is logged, and the next call
   * tries it again.
   */
  async kill (reason: string): Promise<void> {
    this.#killing ??= this.#endProcesses(reason).finally(() => { this.#killing = undefined })
    await this.#killing
  }

  async #endProcesses (reason: string): Promise<void> {
    try {
      let gone = false
      // Again when it was killed before it had begun.
      for (let tries = 0; tries < 2 && !this.isOver; tries++) {
        gone = await killMarked(this.owned.sandbox, `${execMarker}=${this.id}`, hangUp)
        for (let waited = 0; !this.isOver && waited < endMs; waited += tickMs) await sleep(tickMs)
      }
      this.#log.info({ ...this.#ids, reason, gone }, 'terminal killed')
      // A process that has hidden its marker was not found. It is the sandbox's now.
      if (!this.isOver) this.#process.release()
    } catch (err) {
      this.#log.warn({ ...this.#ids, reason, err }, 'terminal could not be killed')
    }
  }

  async #run (): Promise<void> {
    try {
      const exitCode = await this.#process.pipe(async (_stream, bytes) => await this.#show(bytes))
      this.isOver = true
      this.#log.info({ ...this.#ids, exitCode }, 'terminal ended')
      this.#viewer?.exit(exitCode)
    } catch (error) {
      this.isOver = true
      const failure = await explainFailure(error, this.owned.sandbox, 'terminal')
      this.#log.info({ ...this.#ids, err: failure }, 'terminal lost')
      this.#viewer?.fail(failure)
    } finally {
      this.#input.end()
      await this.#killing
    }
  }

  async #show (bytes: Uint8Array): Promise<void> {
    const wasNamed = this.#name.text !== undefined
    const shown = this.#name.cut(bytes)
    if (!wasNamed && this.#name.text !== undefined) this.#startInput()
    if (shown.length === 0) return
    this.#output.add(shown)
    await this.#viewer?.output(shown)
  }

  /** What is typed before the name has come would be shown in front of it. */
  #startInput () {
    this.#process.write(this.#input).catch(() => {})
    if (this.#size !== undefined) this.resize(this.#size)
  }

  /** Only a path of this form is ever passed to a command: the sandbox says what it wants. */
  get #device (): string | undefined {
    return this.#name.text?.match(/^\/dev\/[a-z0-9/]{1,40}$/)?.[0]
  }
}
