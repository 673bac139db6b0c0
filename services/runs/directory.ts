import { join } from 'node:path/posix'
import { AppError, wrap } from '../../errors.js'
import { killMarked, killScript, type KillStage } from '../modal/kill.js'
import { execMarker } from '../modal/process.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { writeRecord, type StartedRecord } from './records.js'
import { script, shell } from './shell.js'

const prepare = script('prepare.sh')
const scan = script('scan.sh')
const read = script('read.sh')
const bury = script('bury.sh')
const named = (...names: string[]) => Object.fromEntries(names.map((name) => [name, script(name)]))
const inSandbox = { ...named('runner.sh', 'stop.sh', 'judge.sh', 'settle.sh'), 'kill.sh': killScript }
/** Only for runs that ask for permission. */
const toAsk = named('ask.awk', 'ask.sh', 'answer.sh')

/** What dies with the sandbox: its one place for a run, and what the runner needs while it lives. */
export const stateDirectory = '/tmp/.modal-sandbox'
export const lock = join(stateDirectory, 'active')
export const stateOf = (runId: string) => join(stateDirectory, runId)
/** What outlives the sandbox where there is a volume: the CLI's own directory, and the logs of runs next to it. */
export const homeOf = ({ mountPath, workdir }: OwnedSandbox) => join(mountPath ?? workdir, '.claude-sandbox')
const runsOf = (owned: OwnedSandbox) => join(homeOf(owned), 'runs')
export const directoryOf = (owned: OwnedSandbox, runId: string) => join(runsOf(owned), runId)
export const logOf = (owned: OwnedSandbox, runId: string) => join(directoryOf(owned, runId), 'log')
const markerOf = (runId: string) => `${execMarker}=${runId}`

/** Ids as this service makes them; whatever else is in a sandbox is none of them. */
export const runIdPattern = /^run_[a-z0-9]{20}$/
const scanLine = /^(run_[a-z0-9]{20}) (yes|no) (\d{1,15}) (\d{1,6}) (\d{1,6})$/
const taken = 75
const lacksProgram = 76
const noLog = 66
const headBytes = 32 * 1024
const tailBytes = 64 * 1024
const listed = 100
/** The same that stop.sh does. */
const stages: readonly KillStage[] = [
  { signal: 'INT', waitMs: 1500 }, { signal: 'TERM', waitMs: 300 }, { signal: 'KILL', waitMs: 3000 }
]

/** What a scan says of one run. Head and tail of its log may overlap. */
export interface ScannedRun { id: string, alive: boolean, size: number, head: Buffer, tail: Buffer }

/**
 * Takes the sandbox's one place for a run, also against other replicas, and writes the run's files.
 * @param prompt what the CLI reads as such.
 * @throws {AppError} RUN_ACTIVE with the active run's id, CLAUDE_FAILED, SANDBOX_ENDED.
 */
export async function prepareRun (owned: OwnedSandbox, started: StartedRecord, prompt: string): Promise<void> {
  const files = Object.entries({ ...inSandbox, ...started.asks && toAsk }).flat()
  const programs = started.asks ? 'script tee awk mkfifo' : 'script tee'
  const argv = [stateDirectory, runsOf(owned), started.run, owned.workdir, writeRecord(started), programs, ...files]
  const command = ['sh', '-c', prepare, 'prepare', ...argv]
  const { exitCode, stdout, stderr } = await shell(owned, 'prepare', command, { stdin: prompt })
  const said = stdout.toString('utf8', 0, 200)
  if (exitCode === taken) throw new AppError('RUN_ACTIVE', { details: { runId: runIdPattern.test(said) ? said : null } })
  if (exitCode === lacksProgram) {
    throw new AppError('CLAUDE_FAILED', {
      step: 'prepare',
      message: `The sandbox's image has no \`${said}\`, which a run of Claude needs.`,
      hint: 'Use an image with util-linux, coreutils and awk (Alpine: apk add util-linux-misc).'
    })
  }
  if (exitCode !== 0) throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'prepare', 'CLAUDE_FAILED')
}

/**
 * Looks for runs: the newest ones but those that are known, or just the named one.
 * @throws {AppError} SANDBOX_ENDED, or another when the sandbox can not be asked.
 */
export async function scanRuns (
  owned: OwnedSandbox, which: { known: string[] } | { only: string }
): Promise<ScannedRun[]> {
  const [most, ids] = 'only' in which ? [0, [which.only]] : [listed, which.known]
  const sizes = [headBytes, tailBytes, most].map(String)
  const limit = ('only' in which ? 1 : listed) * (headBytes + tailBytes + 200)
  const argv = ['sh', '-c', scan, 'scan', stateDirectory, runsOf(owned), ...sizes, ...ids]
  return parseScan((await shell(owned, 'scan runs', argv, { limit })).stdout)
}

/** What does not have the form it should is left out, and all after it: somebody has changed a file meanwhile. */
function parseScan (output: Buffer): ScannedRun[] {
  const runs: ScannedRun[] = []
  for (let at = 0; at < output.length;) {
    const end = output.indexOf('\n', at)
    const line = output.toString('latin1', at, end)
    const [, id, alive, ...sizes] = scanLine.exec(line) ?? []
    if (id === undefined) break
    const [size, head, tail] = sizes.map(Number) as [number, number, number]
    const start = end + 1
    at = start + head + tail
    if (at > output.length) break
    runs.push({
      id, alive: alive === 'yes', size, head: output.subarray(start, start + head), tail: output.subarray(start + head, at)
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
  const argv = ['sh', '-c', read, 'read', stateOf(runId), logOf(owned, runId), String(position), String(bytes), beat]
  const { exitCode, stdout } = await shell(owned, 'read run', argv, { limit: bytes })
  if (exitCode === noLog) throw new AppError('RUN_NOT_FOUND')
  return stdout
}

/** Ends Claude and all it has started. @returns whether nothing of it is left. @throws {AppError} not reachable. */
export async function stopRun (owned: OwnedSandbox, runId: string, reason: 'cancelled' | 'timeout'): Promise<boolean> {
  const argv = ['sh', join(stateOf(runId), 'stop.sh'), reason, stateOf(runId), directoryOf(owned, runId), markerOf(runId)]
  const { exitCode } = await shell(owned, 'stop run', argv)
  // Somebody in the sandbox has removed the script: then without it, and without its note.
  return exitCode <= 1 ? exitCode === 0 : await killMarked(owned.sandbox, markerOf(runId), stages)
}

/** Writes the end of a run that nobody else can write: its runner was killed, or its sandbox is gone. */
export async function buryRun (owned: OwnedSandbox, runId: string, lost: 'runner' | 'sandbox'): Promise<void> {
  await shell(owned, 'bury run', ['sh', '-c', bury, 'bury', stateDirectory, runsOf(owned), runId, markerOf(runId), lost])
}
