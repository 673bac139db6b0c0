import type { ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { ExecExit, ExecResult, ExecSpec } from '../../schemas/exec.js'
import { callModal, lookupMs } from '../modal/call.js'
import { killMarked } from '../modal/kill.js'
import { cannotStart, execMarker, explainFailure, SandboxProcess, type OnChunk, type StreamName } from '../modal/process.js'
import { ChunkEncoder, Collector } from './exec-output.js'
import type { OwnedSandbox } from './owned.js'
import { checkSecrets } from './plan.js'

/** The SDK refuses more; it counts characters. */
const argvLimit = 65_536
const keptBytes = 1024 * 1024
const startMs = 60_000
/** On top of the command's own timeout: Modal's, in case this service dies. */
const backstopMs = 30_000
const day = 86_400_000

interface ExecParts {
  id: string
  owned: OwnedSandbox
  process: SandboxProcess
  spec: ExecSpec
  log: Log
  /** The execs of this service; it is listed there until it has ended. */
  running: Set<Exec>
}

/** A command that runs in a sandbox; {@link stream} or {@link collect} it, once. */
export class Exec {
  readonly id: string
  readonly #owned: OwnedSandbox
  readonly #process: SandboxProcess
  readonly #spec: ExecSpec
  readonly #log: Log
  readonly #started = performance.now()
  readonly #onEnd: () => void
  #killed: Promise<void> | undefined

  constructor ({ id, owned, process, spec, log, running }: ExecParts) {
    running.add(this)
    this.#onEnd = () => running.delete(this)
    this.id = id
    this.#owned = owned
    this.#process = process
    this.#spec = spec
    this.#log = log
  }

  /**
   * Hands over output as it comes; a slow `onText` slows the command down.
   * @param signal aborts when the reader has gone: ends the command with everything it has started.
   */
  async stream (signal: AbortSignal, onText: (stream: StreamName, text: string) => Promise<void>): Promise<ExecExit> {
    const { encoding } = this.#spec
    const encoders = { stdout: new ChunkEncoder(encoding), stderr: new ChunkEncoder(encoding) }
    const exit = await this.pipe(signal, (stream, bytes) => {
      const text = encoders[stream].encode(bytes)
      if (text !== '') return onText(stream, text)
    })
    for (const stream of ['stdout', 'stderr'] as const) {
      const rest = encoders[stream].end()
      if (rest !== '') await onText(stream, rest)
    }
    return exit
  }

  /**
   * Hands over output as bytes. @param signal as in {@link stream}.
   * @param input for its standard input, instead of the spec's. When it fails, standard input is not ended, so that the
   * command never takes a part for the whole; the caller then aborts the signal.
   */
  async pipe (signal: AbortSignal, onChunk: OnChunk, input?: AsyncIterable<Uint8Array>): Promise<ExecExit> {
    const { timeoutMs } = this.#spec
    let timedOut = false
    const timer = timeoutMs === undefined
      ? undefined
      : setTimeout(() => { timedOut = true; this.kill('timeout') }, timeoutMs - (performance.now() - this.#started))
    const left = () => { this.kill('client left') }
    signal.addEventListener('abort', left, { once: true })
    if (signal.aborted) left()
    try {
      // A command need not read its input, so nothing waits for it.
      this.#process.write(input ?? this.#spec.stdin ?? '').catch(() => {})
      const exitCode = await this.#process.pipe(onChunk)
      const exit = { exitCode, timedOut, durationMs: Math.round(performance.now() - this.#started) }
      this.#log.info({ execId: this.id, ...exit }, 'exec ended')
      return exit
    } catch (error) {
      this.kill('output lost')
      throw await explainFailure(error, this.#owned.sandbox, 'exec')
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', left)
      await this.#killed
      this.#onEnd()
    }
  }

  /** Keeps the first MiB of each stream. @param signal as in {@link stream}. @param input as in {@link pipe}. */
  async collect (signal: AbortSignal, input?: AsyncIterable<Uint8Array>): Promise<ExecResult> {
    const { encoding } = this.#spec
    const stdout = new Collector(keptBytes)
    const stderr = new Collector(keptBytes)
    const exit = await this.pipe(signal, (stream, bytes) => (stream === 'stdout' ? stdout : stderr).add(bytes), input)
    return {
      ...exit,
      stdout: stdout.text(encoding),
      stderr: stderr.text(encoding),
      truncated: { stdout: stdout.truncated, stderr: stderr.truncated },
      bytes: { stdout: stdout.bytes, stderr: stderr.bytes }
    }
  }

  /** Ends the command and everything it has started. Never rejects: what could not be ended is logged. */
  async kill (reason: string): Promise<void> {
    this.#killed ??= killMarked(this.#owned.sandbox, `${execMarker}=${this.id}`).then(
      (gone) => this.#log.info({ execId: this.id, reason, gone }, 'exec killed'),
      (err: unknown) => this.#log.warn({ execId: this.id, reason, err }, 'exec could not be killed'))
    await this.#killed
  }
}

/**
 * Starts a command.
 * @throws {AppError} BAD_REQUEST, FORBIDDEN, SECRET_NOT_FOUND, COMMAND_FAILED, SANDBOX_ENDED, SANDBOX_NOT_FOUND.
 */
export async function startExec (
  client: ModalClient, account: Account, owned: OwnedSandbox, spec: ExecSpec, log: Log, running: Set<Exec>
): Promise<Exec> {
  if (spec.command.reduce((sum, { length }) => sum + length, 0) > argvLimit) {
    throw new AppError('BAD_REQUEST', { message: 'body.command has more than 65,536 characters: use stdin or a file' })
  }
  const names = spec.secrets ?? []
  checkSecrets(account, names)
  const secrets = await callModal('secrets', lookupMs, () => Promise.all(names.map((name) => client.secrets.fromName(name))),
    { notFound: 'SECRET_NOT_FOUND' })
  const id = randomId('exec')
  try {
    const process = await SandboxProcess.start(owned.sandbox, spec.command, {
      step: 'exec',
      workdir: spec.workdir ?? owned.workdir,
      env: spec.env ?? {},
      secrets,
      marker: id,
      startMs,
      looks: true,
      meanings: cannotStart,
      ...(spec.timeoutMs !== undefined && { timeoutMs: Math.min(spec.timeoutMs + backstopMs, day) })
    })
    log.info({ execId: id, sandboxId: owned.id }, 'exec started')
    return new Exec({ id, owned, process, spec, log, running })
  } catch (error) {
    throw await explainFailure(error, owned.sandbox, 'exec')
  }
}
