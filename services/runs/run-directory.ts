import { join } from 'node:path/posix'
import { AppError, wrap } from '../../errors.js'
import type { RunSpec } from '../../schemas/run.js'
import { endProcessesScript } from '../modal/kill.js'
import { exitLocked, lockScript, stateDirectory } from '../modal/lock.js'
import { claudeDirectory } from '../modal/names.js'
import { runCommand, type CommandResult } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { writeRecord, type StartedRecord } from './records.js'

/** In front of scripts that run by themselves; those that lie with a run's state source it from there. */
export const library = lockScript + endProcessesScript + loadScript(import.meta.url, 'lib.sh')
const load = (...names: string[]) => Object.fromEntries(names.map((name) => [name, loadScript(import.meta.url, name)]))
const scripts = load('prepare.sh', 'list-runs.sh', 'read-log.sh', 'end-run.sh', 'settle-run.sh')
const inSandbox = { 'lib.sh': library, ...load('runner.sh') }
/** Only for runs in which Claude asks. */
const forPermissions = load('permission-filter.awk', 'record-request.sh', 'answer-permission.sh', 'close-permissions.sh')

/** The lock of a sandbox's one run. */
const runLock = (state: string) => join(state, 'run-lock')
export const lock = runLock(stateDirectory)
/** What the runner needs while it lives; dies with the sandbox. */
export const stateOf = (runId: string) => join(stateDirectory, runId)
/** Where the volume takes no writes. */
const readOnlyHome = `/tmp/${claudeDirectory}`
/** What outlives the sandbox where there is a volume: the CLI's own directory, and the logs of runs next to it. */
export const homeOf = ({ mountPath, mount, workdir }: Pick<OwnedSandbox, 'mountPath' | 'mount' | 'workdir'>) =>
  mount?.readOnly === true ? readOnlyHome : join(mountPath ?? workdir, claudeDirectory)
const runsOf = (owned: OwnedSandbox) => join(homeOf(owned), 'runs')
export const directoryOf = (owned: OwnedSandbox, runId: string) => join(runsOf(owned), runId)
export const logOf = (owned: OwnedSandbox, runId: string) => join(directoryOf(owned, runId), 'log')

/** Ids as this service makes them; anything else in a sandbox is not a run. */
export const runIdPattern = /^run_[a-z0-9]{20}$/
const listLine = /^(run_[a-z0-9]{20}) (yes|no|left) (\d{1,15}) (\d{1,6}) (\d{1,6})$/
/** The same as in lib.sh. */
const runnerMarker = 'MODAL_SANDBOX_RUN_ID'
const exitLeft = 1
const exitRunning = 3
const exitNoProgram = 76
const exitEarlierLeft = 77
const exitNoSession = 78
const exitNoMessage = 79
const exitSessionTaken = 80
export const exitNoLog = 66
const headBytes = 32 * 1024
const tailBytes = 64 * 1024
const listed = 100

/**
 * A run as its sandbox lists it. Head and tail of its log may overlap. By its processes alone it is active, or
 * something is left of it although its runner is dead.
 */
export interface ListedRun { id: string, active: boolean, left: boolean, size: number, head: Buffer, tail: Buffer }

/** What every process of a run has in its environment. */
export const runMark = (runId: string) => ({ [runnerMarker]: runId })

/** The scripts that lie with a run's state, by name. */
export function scriptsOf ({ asks }: StartedRecord): Record<string, string> {
  return { ...inSandbox, ...asks && forPermissions }
}

/** argv that takes the lock in the state directory `state`, and writes the run's files there and below `runs`. */
export function prepareCommand (
  { state, runs, workdir }: { state: string, runs: string, workdir: string }, started: StartedRecord, fork?: RunSpec['fork']
): string[] {
  const files = Object.entries(scriptsOf(started)).flat()
  const programs = started.asks ? 'claude script tee find awk mkfifo' : 'claude script tee find'
  return ['sh', '-c', library + scripts['prepare.sh'], 'prepare', state, runLock(state), runs, started.run, workdir,
    writeRecord(started), programs, fork?.sessionId ?? '-', fork?.at ?? '-', String(started.sessionId), titleOf(started), ...files]
}

/** The name of a fork, whose first prompt is that of the other conversation, too. */
function titleOf ({ prompt }: StartedRecord): string {
  return [...prompt.trim().split('\n')[0]!].slice(0, 100).join('')
}

/**
 * Takes the sandbox's run lock, also against other replicas, and writes the run's files.
 * @param prompt what the CLI reads as such.
 * @param fork the conversation that the run's begins with.
 * @throws {AppError} BAD_REQUEST or SESSION_NOT_FOUND when that is not there, RUN_ACTIVE with the active run's id,
 * RUN_NOT_ENDED, NO_CLAUDE, CLAUDE_FAILED, SANDBOX_ENDED.
 */
export async function prepareRun (
  owned: OwnedSandbox, started: StartedRecord, prompt: string, fork?: RunSpec['fork']
): Promise<void> {
  const command = prepareCommand({ state: stateDirectory, runs: runsOf(owned), workdir: owned.workdir }, started, fork)
  const { exitCode, stdout, stderr } = await runCommand(owned.sandbox, 'prepare', command, { stdin: prompt })
  const output = stdout.toString('utf8', 0, 200)
  if (exitCode === exitLocked) {
    throw new AppError('RUN_ACTIVE', { details: { runId: runIdPattern.test(output) ? output : null } })
  }
  if (exitCode === exitNoSession) throw new AppError('SESSION_NOT_FOUND', { message: 'The conversation in body.fork does not exist.' })
  if (exitCode === exitNoMessage) {
    throw new AppError('BAD_REQUEST', { message: 'body.fork.at is not a message of that conversation.' })
  }
  if (exitCode === exitSessionTaken) {
    throw new AppError('BAD_REQUEST', { message: 'body.sessionId is a conversation already, but body.fork begins a new one.' })
  }
  if (exitCode === exitNoProgram && output === 'claude') throw new AppError('NO_CLAUDE', { step: 'prepare' })
  if (exitCode === exitNoProgram) {
    throw new AppError('CLAUDE_FAILED', {
      step: 'prepare',
      message: `The sandbox's image has no \`${output}\`, which a run of Claude needs.`,
      hint: 'Use an image with util-linux, coreutils and awk (Alpine: apk add util-linux-misc).'
    })
  }
  if (exitCode === exitEarlierLeft) {
    throw new AppError('RUN_NOT_ENDED', { step: 'prepare', message: 'Something of an earlier run could not be ended.' })
  }
  if (exitCode !== 0) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'prepare', 'CLAUDE_FAILED')
}

/**
 * Lists the newest runs except those that are known, or only the named one.
 * @throws {AppError} SANDBOX_ENDED, or another when the sandbox cannot be asked.
 */
export async function listRuns (
  owned: OwnedSandbox, which: { known: string[] } | { only: string }
): Promise<ListedRun[]> {
  const [most, ids] = 'only' in which ? [0, [which.only]] : [listed, which.known]
  const sizes = [headBytes, tailBytes, most].map(String)
  const limit = ('only' in which ? 1 : listed) * (headBytes + tailBytes + 200)
  const command = ['sh', '-c', library + scripts['list-runs.sh'], 'list-runs', stateDirectory, runsOf(owned), ...sizes, ...ids]
  return parseList((await runCommand(owned.sandbox, 'list runs', command, { limit })).stdout)
}

/** Those of the runs that have a log. @throws {AppError} as {@link listRuns}. */
export async function existingRuns (owned: OwnedSandbox, runIds: string[]): Promise<string[]> {
  const command = ['sh', '-c', library + scripts['list-runs.sh'], 'list-runs', stateDirectory, runsOf(owned), '0', '0', '0', ...runIds]
  const { stdout } = await runCommand(owned.sandbox, 'list runs', command, { limit: runIds.length * 200 })
  return parseList(stdout).map(({ id }) => id)
}

/** Stops at the first line of another form: a file has been changed while it was read. */
function parseList (output: Buffer): ListedRun[] {
  const runs: ListedRun[] = []
  for (let at = 0; at < output.length;) {
    const end = output.indexOf('\n', at)
    const line = output.toString('latin1', at, end)
    const [, id, active, ...sizes] = listLine.exec(line) ?? []
    if (id === undefined) break
    const [size, head, tail] = sizes.map(Number) as [number, number, number]
    const start = end + 1
    at = start + head + tail
    if (at > output.length) break
    runs.push({
      id,
      active: active === 'yes',
      left: active === 'left',
      size,
      head: output.subarray(start, start + head),
      tail: output.subarray(start + head, at)
    })
  }
  return runs
}

/**
 * Bytes of a run's log from a position on, fewer only where it ends.
 * @param beat counts as a reader's, and keeps the run going.
 * @throws {AppError} RUN_NOT_FOUND when there is no log.
 */
export async function readLog (
  owned: OwnedSandbox, runId: string, position: number, bytes: number, beat = ''
): Promise<Buffer> {
  const command = ['sh', '-c', scripts['read-log.sh']!, 'read-log', stateOf(runId), logOf(owned, runId), String(position), String(bytes), beat]
  const { exitCode, stdout } = await runCommand(owned.sandbox, 'read run', command, { limit: bytes })
  if (exitCode === exitNoLog) throw new AppError('RUN_NOT_FOUND')
  return stdout
}

/**
 * Ends a run with all that it has started, and looks whether anything is left. Nothing that the sandbox keeps is
 * executed or taken for an answer: the processes are.
 * @throws {AppError} RUN_NOT_ENDED when something of it is still alive; SANDBOX_ENDED, MODAL_*.
 */
export async function endRun (owned: OwnedSandbox, runId: string, reason: 'cancelled' | 'timeout'): Promise<void> {
  const command = ['sh', '-c', library + scripts['end-run.sh'], 'end-run', stateDirectory, runsOf(owned), runId, reason]
  checkEnded(await runCommand(owned.sandbox, 'end run', command), 'end run')
}

/**
 * Looks whether a run has ended. When its runner is dead, or its sandbox, it ends what is left, and records the end
 * that nothing else can record.
 * @param known what Modal says: that its runner or its sandbox has ended; otherwise its processes are asked.
 * @returns the size of its log; undefined when it goes on.
 * @throws {AppError} RUN_NOT_FOUND without a log, RUN_NOT_ENDED, SANDBOX_ENDED, MODAL_*.
 */
export async function settleRun (
  owned: OwnedSandbox, runId: string, known?: 'ended' | 'sandbox'
): Promise<number | undefined> {
  const command = ['sh', '-c', library + scripts['settle-run.sh'], 'settle-run', stateDirectory, runsOf(owned), runId, known ?? '']
  const result = await runCommand(owned.sandbox, 'settle run', command)
  if (result.exitCode === exitRunning) return
  if (result.exitCode === exitNoLog) throw new AppError('RUN_NOT_FOUND')
  checkEnded(result, 'settle run')
  return Number(result.stdout.toString('latin1', 0, 20))
}

function checkEnded ({ exitCode, stdout, stderr }: CommandResult, step: string) {
  if (exitCode === 0) return
  const left = Number(stdout.toString('latin1', 0, 20))
  if (exitCode !== exitLeft || !(left > 0)) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), step, 'RUN_NOT_ENDED')
  throw new AppError('RUN_NOT_ENDED', { step, message: `${left} processes of the run could not be ended.`, details: { left } })
}
