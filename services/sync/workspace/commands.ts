import type { Sandbox } from 'modal'
import { randomId } from '../../../lib/ids.js'
import { withDeadline } from '../../modal/call.js'
import { killMarked } from '../../modal/kill.js'
import { execMarker, SandboxProcess } from '../../modal/process.js'
import { WorkspaceLost } from './workspace.js'

export interface CommandInput {
  stdin?: AsyncIterable<Uint8Array> | string
  /** After which Modal ends the command. */
  timeoutMs?: number
}

/** What a short command has to have done by, when its caller knows. */
interface RunInput extends CommandInput { deadlineMs?: number }

/** A command that was started for a sync. */
export interface RunningCommand {
  stdout: AsyncIterable<Uint8Array>
  /** Resolves when all input is written, or the command reads no more of it. @throws what the input throws. */
  written: Promise<void>
  /** Waits for the end. @throws {WorkspaceLost} */
  finish (): Promise<{ exitCode: number, stderr: string }>
  /** Kills it. */
  cancel (): void
}

/** A process ends soon after its output, or something is wrong. */
const exitMs = 60_000
const stderrBytes = 32 * 1024

/** Runs commands in a sandbox for a sync: they are killed when it is stopped, and fail with {@link WorkspaceLost}. */
export class SandboxCommands {
  readonly #sandbox: Sandbox
  readonly #signal: AbortSignal | undefined

  constructor (sandbox: Sandbox, signal?: AbortSignal) {
    this.#sandbox = sandbox
    this.#signal = signal
  }

  /** @throws {WorkspaceLost} when it cannot be started. */
  async start (command: string[], { stdin = '', timeoutMs }: CommandInput = {}): Promise<RunningCommand> {
    this.#signal?.throwIfAborted()
    const marker = randomId('sync')
    const options = { step: 'sync', marker, ...(timeoutMs !== undefined && { timeoutMs }) }
    const process = await SandboxProcess.start(this.#sandbox, command, options)
      .catch((cause: unknown) => { throw new WorkspaceLost('the sandbox does not run commands', cause) })
    let isOver = false
    const end = () => {
      if (isOver) return false
      isOver = true
      process.release()
      this.#signal?.removeEventListener('abort', cancel)
      return true
    }
    const cancel = () => {
      if (end()) killMarked(this.#sandbox, `${execMarker}=${marker}`).catch(() => {})
    }
    this.#signal?.addEventListener('abort', cancel, { once: true })
    // Asked for now, the exit arrives with the end of the output instead of a round trip after it.
    const exit = process.exit()
    exit.catch(() => {})
    const stderr = head(process.stderr)
    stderr.catch(() => {})
    const written = process.write(stdin)
    written.catch(cancel)
    return {
      written,
      stdout: this.#withReason(process.stdout),
      finish: async () => {
        try {
          const exitCode = await withDeadline(exitMs, () => exit)
          const result = { exitCode, stderr: await withDeadline(exitMs, () => stderr) }
          end()
          return result
        } catch (cause) {
          cancel()
          throw this.#failure(cause, 'a command in the sandbox was lost')
        }
      },
      cancel
    }
  }

  /** Runs a short command to its end. @throws {WorkspaceLost} */
  async run (
    command: string[], { deadlineMs, ...input }: RunInput = {}
  ): Promise<{ exitCode: number, stdout: string, stderr: string }> {
    const running = await this.start(command, input)
    const read = async () => {
      const chunks: Uint8Array[] = []
      for await (const chunk of running.stdout) chunks.push(chunk)
      return { ...await running.finish(), stdout: Buffer.concat(chunks).toString() }
    }
    try {
      return deadlineMs === undefined ? await read() : await withDeadline(deadlineMs, read)
    } catch (cause) {
      running.cancel()
      throw cause instanceof WorkspaceLost ? cause : this.#failure(cause, 'a command in the sandbox took too long')
    }
  }

  async * #withReason (stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield * stream
      this.#signal?.throwIfAborted()
    } catch (cause) {
      throw this.#failure(cause, 'the output of a command in the sandbox was lost')
    }
  }

  /** When the sync was stopped, that is the reason for every failure. */
  #failure (cause: unknown, message: string): unknown {
    if (this.#signal?.aborted) return this.#signal.reason
    return new WorkspaceLost(message, cause)
  }
}

async function head (stream: AsyncIterable<Uint8Array>): Promise<string> {
  const kept: Uint8Array[] = []
  let length = 0
  for await (const chunk of stream) {
    if (length < stderrBytes) kept.push(chunk.slice(0, stderrBytes - length))
    length += chunk.length
  }
  return Buffer.concat(kept).toString()
}
