import type { ExecSpec, PtySize } from '../container/types.js'
import type { ExecStartMessage, PtyInfo } from '../proto/messages.js'
import { checkVariables, type Secrets } from '../control/secrets.js'
import { invalid, notFound } from '../control/status.js'
import type { EndedOutput } from './ended-output.js'
import type { Sandbox } from './sandbox.js'
import { type Exec, StdinWriter } from './stdin.js'

/** The SDK refuses longer command lines as well. */
const maxArgumentLength = 65_536

/** How long the output and exit code of a command are kept after its end. */
const keepEndedMs = 3600_000

/**
 * Starts a command, or returns the one already started under the same exec id.
 * @throws {StatusError} NOT_FOUND when the sandbox has ended
 * @throws {ContainerError} when the command can't be started
 */
export async function startExec (
  sandbox: Sandbox, request: ExecStartMessage, secrets: Secrets, output: EndedOutput
): Promise<Exec> {
  const known = sandbox.execs.get(request.execId)
  if (known) return known
  if (!sandbox.running) throw notFound(`Sandbox ${sandbox.id} has already finished`)
  const exec = start(sandbox, request.containerId, execSpec(request, secrets))
  sandbox.execs.set(request.execId, exec)
  const forget = async () => {
    sandbox.execs.delete(request.execId)
    await output.forget((await exec).process)
  }
  const later = () => { setTimeout(() => { forget().catch(() => {}) }, keepEndedMs).unref() }
  exec.then(({ process }) => output.keep(process)).catch(() => {})
  exec.then(({ process }) => process.exited).then(later, () => sandbox.execs.delete(request.execId))
  return exec
}

async function start (sandbox: Sandbox, containerId: string, spec: ExecSpec): Promise<Exec> {
  const container = await sandbox.inside(containerId).started
  const process = await sandbox.lifetime.track(container.exec(spec))
  sandbox.lifetime.track(process.exited).catch(() => {})
  return { process, stdin: new StdinWriter(process.stdin) }
}

function execSpec (request: ExecStartMessage, secrets: Secrets): ExecSpec {
  const { commandArgs, timeoutSecs, workdir } = request
  if (request.execId === '') throw invalid('exec_id must not be empty')
  if (commandArgs.length === 0) throw invalid('command_args must not be empty')
  if (commandArgs.some((arg) => arg.includes('\0'))) throw invalid('command_args must not contain NUL bytes')
  const length = commandArgs.reduce((sum, arg) => sum + arg.length, 0)
  if (length > maxArgumentLength) throw invalid(`command_args are ${length} long, at most ${maxArgumentLength} are allowed`)
  if (workdir !== undefined && !workdir.startsWith('/')) throw invalid(`workdir must be an absolute path, got: ${workdir}`)
  if (timeoutSecs === 0) throw invalid('timeout_secs must be positive')
  return {
    command: commandArgs,
    env: {
      ...secrets.values(request.secretIds),
      ...checkVariables(request.env),
      ...secrets.resolve(request.secretSources)
    },
    stdout: request.stdoutConfig === 0 ? 'ignore' : 'pipe',
    stderr: request.stderrConfig === 0 ? 'ignore' : 'pipe',
    ...(workdir !== undefined && { workdir }),
    ...(timeoutSecs !== undefined && { timeoutSeconds: timeoutSecs }),
    ...ptyOf(request.ptyInfo)
  }
}

/** The PTY that a request asks for, as part of a spec; empty without one. */
export function ptyOf (info: PtyInfo | null): { pty?: PtySize } {
  if (!info?.enabled) return {}
  const { winszRows: rows, winszCols: columns, envTerm: term, envColorterm: colorTerm } = info
  return { pty: { rows, columns, term, colorTerm } }
}
