import { once } from 'node:events'
import type { ContainerProcess, Sandbox, Secret } from 'modal'
import { AppError } from '../../errors.js'
import { callModal, lookupMs } from './call.js'
import { endingSinceStart, sandboxEnded, whileRunning } from './ending.js'
import { modalError, type ErrorMeanings } from './errors.js'

/** Every process of a command has this variable when it was started with a marker. */
export const execMarker = 'MODAL_SANDBOX_EXEC_ID'

export type StreamName = 'stdout' | 'stderr'
/** Awaited before the next chunk of the same stream is read: that is the back-pressure. */
export type OnChunk = (stream: StreamName, bytes: Uint8Array) => Promise<void> | void

/** What a failed exec means unless the caller knows better. */
export const sandboxGone = { conflict: 'SANDBOX_ENDED', notFound: 'SANDBOX_ENDED' } as const

/** What it means where the client has chosen the command, or the image that has it. */
export const cannotStart = { notFound: 'COMMAND_FAILED', invalid: 'COMMAND_FAILED', conflict: 'COMMAND_FAILED' } as const

/** No sandbox lives longer, and Modal may refuse a command that could. */
const maxExecMs = 24 * 60 * 60 * 1000

interface StartOptions {
  /** Named in errors. */
  step: string
  /** `/` unless given. */
  workdir?: string
  env?: Record<string, string>
  secrets?: Secret[]
  /** Modal's own limit. Without one the SDK keeps no timer for each stream. */
  timeoutMs?: number
  /** Gives it a terminal: then all its output is `stdout`. */
  pty?: boolean
  /** Value of {@link execMarker} in the environment, by which `killMarked` finds the command and its descendants. */
  marker?: string
  meanings?: ErrorMeanings
  /** How long to wait for the start. */
  startMs?: number
  /** After how long without output Modal is asked whether the sandbox still runs. */
  silenceMs?: number
  /** Has Modal asked meanwhile whether the sandbox runs, where nobody knows. */
  looks?: boolean
}

/** After the exit a stream may be held open by a grandchild: it is cut when it has nothing to say for this long, */
const quietMs = 2000
/** or when waiting for it has taken this long in all. Time spent on passing on what came does not count. */
const drainMs = 5000
const tickMs = 100
/** As large as one write to a process may sensibly be: each is a call of its own, and the next waits for it. */
const writeBytes = 1024 * 1024
const stderrBytes = 2000

/**
 * A command that runs in a sandbox: its input, its output, its exit, and the loss of its sandbox. The only place that
 * knows the SDK's ContainerProcess. Use {@link runCommand} for a short command whose whole output fits into memory.
 */
export class SandboxProcess {
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  readonly #sandbox: Sandbox
  readonly #process: ContainerProcess<Uint8Array>
  readonly #over = new AbortController()
  readonly #watch: NodeJS.Timeout
  /** Rejects when the sandbox has ended. */
  readonly #lost: Promise<never>
  /** Rejects when nobody waits for the process any more. */
  readonly #released: Promise<never>
  #lose!: (error: AppError) => void
  #exit: Promise<number> | undefined
  #silent = false

  private constructor (sandbox: Sandbox, process: ContainerProcess<Uint8Array>, silenceMs: number) {
    this.#sandbox = sandbox
    this.#process = process
    this.#lost = new Promise((_resolve, reject) => { this.#lose = reject })
    this.#lost.catch(() => {})
    this.#released = once(this.#over.signal, 'abort').then(() => { throw this.#over.signal.reason })
    this.#released.catch(() => {})
    const onData = () => { this.#silent = false }
    this.stdout = new OutputStream(process.stdout, this.#lost, onData)
    this.stderr = new OutputStream(process.stderr, this.#lost, onData)
    this.#watch = setInterval(() => { this.#checkSandbox() }, silenceMs).unref()
  }

  /** @throws {AppError} SANDBOX_ENDED, MODAL_*, or as `meanings` say; with `looks` also SANDBOX_NOT_FOUND. */
  static async start (sandbox: Sandbox, command: string[], options: StartOptions): Promise<SandboxProcess> {
    const started = SandboxProcess.#start(sandbox, command, options)
    return options.looks === true ? await whileRunning(sandbox, started, (late) => late.release()) : await started
  }

  static async #start (sandbox: Sandbox, command: string[], options: StartOptions): Promise<SandboxProcess> {
    const { step, workdir = '/', env = {}, pty = false, secrets, timeoutMs, marker } = options
    const { meanings = sandboxGone, startMs = lookupMs, silenceMs = 10_000 } = options
    const process = await callModal(step, startMs, () => sandbox.exec(command, {
      mode: 'binary',
      workdir,
      pty,
      env: { ...env, ...(marker !== undefined && { [execMarker]: marker }) },
      ...(secrets !== undefined && { secrets }),
      ...(timeoutMs !== undefined && { timeoutMs: Math.min(timeoutMs, maxExecMs) })
    }), meanings)
    return new SandboxProcess(sandbox, process as ContainerProcess<Uint8Array>, silenceMs)
  }

  /**
   * The exit code. The SDK's public `wait()` retries for ever when the sandbox's host is gone (modal 0.11.1); its inner
   * form can be told to stop.
   * @throws {AppError} SANDBOX_ENDED; an `AbortError` after {@link release}.
   */
  async exit (): Promise<number> {
    this.#exit ??= this.#process._wait(this.#over.signal)
    this.#exit.catch(() => {})
    return await Promise.race([this.#exit, this.#lost, this.#released])
  }

  /**
   * Hands over all output, and answers the exit code when the process has ended and its output is through. To be called
   * once, instead of reading the streams.
   * @throws {AppError} SANDBOX_ENDED; what a lost stream or `onChunk` throws.
   */
  async pipe (onChunk: OnChunk): Promise<number> {
    const drained = Promise.all([
      this.stdout.forEach((bytes) => onChunk('stdout', bytes)), this.stderr.forEach((bytes) => onChunk('stderr', bytes))
    ])
    const lostStream = drained.then(() => new Promise<never>(() => {}))
    lostStream.catch(() => {})
    try {
      const exitCode = await Promise.race([this.exit(), lostStream])
      await this.#drain(drained)
      return exitCode
    } finally {
      this.release()
    }
  }

  /**
   * Writes standard input and ends it. A process need not read it: a broken pipe is no error.
   * @throws what the input throws; then the input is not ended, so that a part is never taken for the whole.
   */
  async write (input: string | AsyncIterable<Uint8Array>): Promise<void> {
    const isTaken = async (work: Promise<unknown>) => await work.then(() => true, () => false)
    if (typeof input === 'string') {
      // One call, where the writer of the SDK needs one for each piece and one for the end (modal 0.11.1, whose files
      // are written like this).
      const bytes = Buffer.from(input)
      await isTaken(this.#process._stdinWriteStream({ async * readFrom (offset) { yield bytes.subarray(offset) } }))
      return
    }
    const writer = this.#process.stdin.getWriter()
    for await (const chunk of input) {
      for (let from = 0; from < chunk.length; from += writeBytes) {
        const piece = chunk.subarray(from, from + writeBytes) as Uint8Array<ArrayBuffer>
        if (!await isTaken(writer.write(piece))) return
      }
    }
    await isTaken(writer.close())
  }

  /** Stops reading and waiting; the process itself goes on. */
  release (): void {
    clearInterval(this.#watch)
    this.#over.abort()
    this.stdout.cancel()
    this.stderr.cancel()
  }

  /** After the exit: waits for the rest of the output, but not for ever. */
  async #drain (drained: Promise<unknown>): Promise<void> {
    const streams = [this.stdout, this.stderr].map((stream) => ({ stream, chunks: stream.chunks, quiet: 0, waited: 0 }))
    const timer = setInterval(() => {
      for (const one of streams.filter(({ stream }) => stream.isWaiting)) {
        one.quiet = one.stream.chunks === one.chunks ? one.quiet + tickMs : tickMs
        one.waited += tickMs
        one.chunks = one.stream.chunks
        if (one.quiet >= quietMs || one.waited >= drainMs) one.stream.cancel()
      }
    }, tickMs)
    try {
      await drained
    } finally {
      clearInterval(timer)
    }
  }

  /** A sandbox that ends takes its processes with it, and the SDK may never say so. */
  async #checkSandbox (): Promise<void> {
    if (!this.#silent) {
      this.#silent = true
      return
    }
    const ending = await endingSinceStart(this.#sandbox)
    if (ending === null || this.#over.signal.aborted) return
    this.#lose(sandboxEnded(ending))
    this.release()
  }
}

/** One output stream of a process, to be read once: with {@link forEach}, or as an async iterable. */
export class OutputStream implements AsyncIterable<Uint8Array> {
  /** How many have been read. */
  chunks = 0
  /** Whether its reader waits for more. */
  isWaiting = false
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #lost: Promise<never>
  readonly #onData: () => void
  #ahead: ReturnType<ReadableStreamDefaultReader<Uint8Array>['read']> | undefined

  constructor (stream: ReadableStream<Uint8Array>, lost: Promise<never>, onData: () => void) {
    this.#reader = stream.getReader()
    this.#lost = lost
    this.#onData = onData
  }

  /** Asks for the first output now: for a reader that comes later, that saves a round trip. */
  open (): void {
    this.#ahead = this.#reader.read()
    this.#ahead.catch(() => {})
  }

  /** Ends when the stream does, or was cancelled. @throws {AppError} SANDBOX_ENDED; what a lost stream throws. */
  async forEach (onChunk: (bytes: Uint8Array) => Promise<void> | void): Promise<void> {
    for (;;) {
      const bytes = await this.#next()
      if (bytes === undefined) return
      await onChunk(bytes)
    }
  }

  async * [Symbol.asyncIterator] (): AsyncGenerator<Uint8Array> {
    try {
      for (let bytes; (bytes = await this.#next()) !== undefined;) yield bytes
    } finally {
      this.cancel()
    }
  }

  cancel (): void {
    // Only ever in the middle of a read: a stream of the SDK that is cancelled between two of them keeps its timer, and
    // with it this whole process, for as long as the exec may take (modal 0.11.1).
    if (!this.isWaiting) this.#reader.read().catch(() => {})
    setImmediate(() => { this.#reader.cancel().catch(() => {}) })
  }

  async #next (): Promise<Uint8Array | undefined> {
    this.isWaiting = true
    const reading = this.#ahead ?? this.#reader.read()
    this.#ahead = undefined
    const { done, value } = await reading
    this.isWaiting = false
    this.chunks++
    this.#onData()
    // Cancelled because the sandbox is gone: the end of the stream is not the end of the output.
    if (done) await Promise.race([this.#lost, Promise.resolve()])
    return done ? undefined : value
  }
}

export interface CommandResult { exitCode: number, stdout: Buffer, stderr: string }

export interface CommandOptions {
  stdin?: string
  /** Bytes of output that are kept; a command that says more is refused. 64 KiB unless given. */
  limit?: number
  timeoutMs?: number
  meanings?: ErrorMeanings
  /** Whose variables it has in its environment. */
  secrets?: Secret[]
  /** Has Modal asked meanwhile whether the sandbox runs, where nobody knows. */
  looks?: boolean
}

/**
 * Runs a short command to its end.
 * @throws {AppError} SANDBOX_ENDED, MODAL_TIMEOUT; COMMAND_FAILED when it says more than it may.
 */
export async function runCommand (
  sandbox: Sandbox, step: string, command: string[], options: CommandOptions = {}
): Promise<CommandResult> {
  const { stdin = '', limit = 65_536, timeoutMs = lookupMs, meanings = sandboxGone, secrets, looks = false } = options
  const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  let bytes = 0
  let process: SandboxProcess | undefined
  try {
    return await callModal(step, timeoutMs, async () => {
      process = await SandboxProcess.start(sandbox, command, {
        step, timeoutMs, meanings, looks, ...(secrets !== undefined && { secrets })
      })
      const written = process.write(stdin)
      written.catch(() => {})
      const exitCode = await process.pipe((stream, chunk) => {
        bytes += chunk.length
        if (bytes > limit + stderrBytes) {
          throw new AppError('COMMAND_FAILED', { message: 'A command in the sandbox wrote more than it should.' })
        }
        kept[stream].push(Buffer.from(chunk))
      })
      // A command that refuses its work need not have read its input.
      if (exitCode === 0) await written
      const stderr = Buffer.concat(kept.stderr).toString('utf8', 0, stderrBytes)
      return { exitCode, stdout: Buffer.concat(kept.stdout), stderr }
    }, meanings)
  } finally {
    process?.release()
  }
}

/** An exec fails in many ways when its sandbox ends; only the sandbox itself says so plainly. */
export async function explainFailure (error: unknown, sandbox: Sandbox, step: string): Promise<AppError> {
  const failure = modalError(error, step)
  if (failure.code === 'SANDBOX_ENDED' || failure.code === 'SANDBOX_NOT_FOUND') return failure
  const ending = await endingSinceStart(sandbox)
  return ending === null ? failure : sandboxEnded(ending, { cause: failure, step })
}
