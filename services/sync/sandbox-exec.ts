import type { ContainerProcess, Sandbox } from 'modal'
import { randomId } from '../../lib/ids.js'
import { execMarker, killMarked } from '../sandboxes/kill.js'
import { within } from '../sandboxes/steps.js'
import { WorkspaceLost } from './workspace.js'

export interface ExecInput { stdin?: AsyncIterable<Uint8Array> | string }

export interface Running {
  stdout: AsyncIterable<Uint8Array>
  /** Settles when all input is written, or the command takes no more. @throws what the input throws. */
  fed: Promise<void>
  /** Waits for the end. @throws {WorkspaceLost} */
  finish (): Promise<{ exitCode: number, stderr: string }>
  /** Ends it, whatever it does. */
  cancel (): void
}

const startMs = 30_000
/** When a stream has ended its process ends soon, or something is wrong. */
const exitMs = 60_000
/** So long a sync may be silent before its sandbox is asked whether it is still there. */
const silenceMs = 60_000
const keptStderr = 32 * 1024
/** As large as one write to a process may sensibly be: each is a call of its own, and the next waits for it. */
const writeSize = 1024 * 1024

/** Runs commands in a sandbox for a sync: byte streams both ways, and an end to everything when the sync ends. */
export class SandboxExec {
  readonly #sandbox: Sandbox
  readonly #signal: AbortSignal | undefined

  constructor (sandbox: Sandbox, signal?: AbortSignal) {
    this.#sandbox = sandbox
    this.#signal = signal
  }

  /** @throws {WorkspaceLost} when it can't be started. */
  async start (command: string[], { stdin }: ExecInput = {}): Promise<Running> {
    this.#signal?.throwIfAborted()
    const id = randomId('sync')
    // Without a timeout of Modal's: the SDK keeps a timer for each stream of such an exec until it is over.
    const process = await this.#start(command, id)
    const over = new AbortController()
    const kill = () => { killMarked(this.#sandbox, `${execMarker}=${id}`).catch(() => {}) }
    const cancel = () => {
      if (over.signal.aborted) return
      over.abort()
      this.#signal?.removeEventListener('abort', cancel)
      kill()
    }
    this.#signal?.addEventListener('abort', cancel, { once: true })
    const stderr = collect(process.stderr)
    stderr.catch(() => {})
    const fed = feed(process, stdin)
    fed.catch(cancel)
    return {
      fed,
      stdout: this.#watched(process.stdout, over.signal),
      finish: async () => {
        try {
          const exitCode = await within(exitMs, () => process._wait(over.signal))
          return { exitCode, stderr: await within(exitMs, () => stderr) }
        } catch (cause) {
          kill()
          this.#signal?.throwIfAborted()
          throw new WorkspaceLost('a command in the sandbox was lost', cause)
        } finally {
          over.abort()
          this.#signal?.removeEventListener('abort', cancel)
        }
      },
      cancel
    }
  }

  async #start (command: string[], id: string): Promise<ContainerProcess<Uint8Array>> {
    try {
      return await within(startMs, () => this.#sandbox.exec(command, {
        mode: 'binary', workdir: '/', env: { [execMarker]: id }
      })) as ContainerProcess<Uint8Array>
    } catch (cause) {
      throw new WorkspaceLost('the sandbox does not run commands', cause)
    }
  }

  /** A short command to its end, with its output as text. @throws {WorkspaceLost} */
  async run (command: string[], input: ExecInput = {}): Promise<{ exitCode: number, stdout: string, stderr: string }> {
    const running = await this.start(command, input)
    const chunks: Uint8Array[] = []
    for await (const chunk of running.stdout) chunks.push(chunk)
    return { ...await running.finish(), stdout: Buffer.concat(chunks).toString() }
  }

  /** The SDK waits for ever for a sandbox that is gone: silence makes this ask. */
  async * #watched (stream: ReadableStream<Uint8Array>, over: AbortSignal): AsyncGenerator<Uint8Array> {
    const reader = stream.getReader()
    // Not a race with one promise for all reads: that would hold on to all that was read.
    const leave = () => { reader.cancel().catch(() => {}) }
    over.addEventListener('abort', leave, { once: true })
    try {
      while (true) {
        const next = reader.read()
        next.catch(() => {})
        const result = await this.#orLost(next)
        this.#signal?.throwIfAborted()
        if (result.done) return
        yield result.value
      }
    } catch (cause) {
      this.#signal?.throwIfAborted()
      throw cause instanceof WorkspaceLost ? cause : new WorkspaceLost('the output of a command in the sandbox was lost', cause)
    } finally {
      over.removeEventListener('abort', leave)
      leave()
    }
  }

  async #orLost<T> (work: Promise<T>): Promise<T> {
    while (true) {
      let timer: NodeJS.Timeout | undefined
      const silence = new Promise<undefined>((resolve) => { timer = setTimeout(() => resolve(undefined), silenceMs) })
      const result = await Promise.race([work.then((value) => ({ value })), silence]).finally(() => clearTimeout(timer))
      if (result !== undefined) return result.value
      const exitCode = await within(startMs, () => this.#sandbox.poll())
      if (exitCode !== null) throw new WorkspaceLost('the sandbox has ended')
    }
  }
}

async function feed (process: ContainerProcess<Uint8Array>, stdin: ExecInput['stdin']) {
  const writer = process.stdin.getWriter()
  // Whoever ends before it has read all says why by its exit code.
  let open = true
  const closed = () => { open = false }
  for await (const chunk of typeof stdin === 'string' ? [Buffer.from(stdin)] : stdin ?? []) {
    for (const piece of slices(chunk)) {
      await writer.write(piece as Uint8Array<ArrayBuffer>).catch(closed)
      if (!open) return
    }
  }
  await writer.close().catch(closed)
}

function * slices (bytes: Uint8Array) {
  for (let from = 0; from < bytes.length; from += writeSize) yield bytes.subarray(from, from + writeSize)
}

async function collect (stream: ReadableStream<Uint8Array>): Promise<string> {
  const kept: Uint8Array[] = []
  let length = 0
  for await (const chunk of stream) {
    if (length < keptStderr) kept.push(chunk.slice(0, keptStderr - length))
    length += chunk.length
  }
  return Buffer.concat(kept).toString()
}
