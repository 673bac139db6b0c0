import { join } from 'node:path/posix'
import { AppError, wrap } from '../../errors.js'
import { clockScript, killMarked, killScript, type KillStage } from '../modal/kill.js'
import { exitLocked, lockScript, stateDirectory } from '../modal/lock.js'
import { execMarker, runCommand } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { writeRecord, type StartedRecord } from './records.js'

/** In front of scripts that run by themselves; those that lie with a run's state source it from there. */
export const library = clockScript + lockScript + loadScript(import.meta.url, 'lib.sh')
const load = (...names: string[]) => Object.fromEntries(names.map((name) => [name, loadScript(import.meta.url, name)]))
const scripts = load('prepare.sh', 'list-runs.sh', 'read-log.sh', 'record-lost-end.sh')
const inSandbox = {
  'lib.sh': library, 'kill.sh': killScript, ...load('runner.sh', 'stop.sh', 'has-result.sh', 'close-permissions.sh')
}
/** Only for runs that ask for permission. */
const forPermissions = load('permission-filter.awk', 'record-request.sh', 'answer-permission.sh')

/** The lock of a sandbox's one run. */
const runLock = (state: string) => join(state, 'run-lock')
export const lock = runLock(stateDirectory)
/** What the runner needs while it lives; dies with the sandbox. */
export const stateOf = (runId: string) => join(stateDirectory, runId)
/** What outlives the sandbox where there is a volume: the CLI's own directory, and the logs of runs next to it. */
export const homeOf = ({ mountPath, workdir }: OwnedSandbox) => join(mountPath ?? workdir, '.claude-sandbox')
const runsOf = (owned: OwnedSandbox) => join(homeOf(owned), 'runs')
export const directoryOf = (owned: OwnedSandbox, runId: string) => join(runsOf(owned), runId)
export const logOf = (owned: OwnedSandbox, runId: string) => join(directoryOf(owned, runId), 'log')
const markerOf = (runId: string) => `${execMarker}=${runId}`

/** Ids as this service makes them; anything else in a sandbox is not a run. */
export const runIdPattern = /^run_[a-z0-9]{20}$/
const listLine = /^(run_[a-z0-9]{20}) (yes|no) (\d{1,15}) (\d{1,6}) (\d{1,6})$/
const exitNoProgram = 76
const exitNoLog = 66
const headBytes = 32 * 1024
const tailBytes = 64 * 1024
const listed = 100
/** The same as in stop.sh. */
const stages: readonly KillStage[] = [
  { signal: 'INT', waitMs: 1500 }, { signal: 'TERM', waitMs: 300 }, { signal: 'KILL', waitMs: 3000 }
]

/** A run as its sandbox lists it. Head and tail of its log may overlap. */
export interface ListedRun { id: string, active: boolean, size: number, head: Buffer, tail: Buffer }

/** The scripts that lie with a run's state, by name. */
export function scriptsOf ({ asks }: StartedRecord): Record<string, string> {
  return { ...inSandbox, ...asks && forPermissions }
}

/** argv that takes the lock in the state directory `state`, and writes the run's files there and below `runs`. */
export function prepareCommand (
  { state, runs, workdir }: { state: string, runs: string, workdir: string }, started: StartedRecord
): string[] {
  const files = Object.entries(scriptsOf(started)).flat()
  const programs = started.asks ? 'script tee awk mkfifo' : 'script tee'
  return ['sh', '-c', library + scripts['prepare.sh'], 'prepare', state, runLock(state), runs, started.run, workdir,
    writeRecord(started), programs, execMarker, ...files]
}

/**
 * Takes the sandbox's run lock, also against other replicas, and writes the run's files.
 * @param prompt what the CLI reads as such.
 * @throws {AppError} RUN_ACTIVE with the active run's id, CLAUDE_FAILED, SANDBOX_ENDED.
 */
export async function prepareRun (owned: OwnedSandbox, started: StartedRecord, prompt: string): Promise<void> {
  const command = prepareCommand({ state: stateDirectory, runs: runsOf(owned), workdir: owned.workdir }, started)
  const { exitCode, stdout, stderr } = await runCommand(owned.sandbox, 'prepare', command, { stdin: prompt })
  const output = stdout.toString('utf8', 0, 200)
  if (exitCode === exitLocked) {
    throw new AppError('RUN_ACTIVE', { details: { runId: runIdPattern.test(output) ? output : null } })
  }
  if (exitCode === exitNoProgram) {
    throw new AppError('CLAUDE_FAILED', {
      step: 'prepare',
      message: `The sandbox's image has no \`${output}\`, which a run of Claude needs.`,
      hint: 'Use an image with util-linux, coreutils and awk (Alpine: apk add util-linux-misc).'
    })
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
      id, active: active === 'yes', size, head: output.subarray(start, start + head), tail: output.subarray(start + head, at)
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

/** Ends Claude and all it has started. @returns whether nothing of it is left. @throws {AppError} not reachable. */
export async function stopRun (owned: OwnedSandbox, runId: string, reason: 'cancelled' | 'timeout'): Promise<boolean> {
  const command = ['sh', join(stateOf(runId), 'stop.sh'), reason, stateOf(runId), directoryOf(owned, runId), markerOf(runId)]
  const { exitCode } = await runCommand(owned.sandbox, 'stop run', command)
  // The script was removed in the sandbox: then without it, and without recording the reason.
  return exitCode <= 1 ? exitCode === 0 : await killMarked(owned.sandbox, markerOf(runId), stages)
}

/** Records the end of a run that nothing else can record: its runner was killed, or its sandbox is gone. */
export async function recordLostEnd (owned: OwnedSandbox, runId: string, lost: 'runner' | 'sandbox'): Promise<void> {
  const script = library + scripts['record-lost-end.sh']
  const command = ['sh', '-c', script, 'record-lost-end', stateDirectory, runsOf(owned), runId, markerOf(runId), lost]
  await runCommand(owned.sandbox, 'record lost end', command)
}
