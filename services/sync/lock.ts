import { Value } from '@sinclair/typebox/value'
import { PassThrough } from 'node:stream'
import { AppError } from '../../errors.js'
import { ByteReader } from '../../lib/byte-reader.js'
import { randomId } from '../../lib/ids.js'
import { SyncReport, type LastSync } from '../../schemas/sync.js'
import { withDeadline } from '../modal/call.js'
import { exitLocked, lockScript, stateDirectory } from '../modal/lock.js'
import { cleanEnvironment, loadScript } from '../modal/script.js'
import type { SandboxCommands } from './workspace/commands.js'
import { WorkspaceLost, type Problem } from './workspace/workspace.js'

/** The functions of the lock and the actions upon it; see `scripts/sync-lock.sh`. */
export const syncLockScript = cleanEnvironment + lockScript + loadScript(import.meta.url, 'sync-lock.sh')
/**
 * A holder that could not keep the lock fresh for `giveUpMs` stops, before another one may take over. The command that
 * acquired the lock waits for its release for `holdMs` at most: if the service dies it must not keep the sandbox awake.
 */
const defaultPace = { heartbeatMs: 8000, giveUpMs: 25_000, holdMs: 600_000 }
/** A release that takes longer is tried with a command of its own. */
const releaseMs = 5000
/** Every action of the lock is done sooner, unless the sandbox does not answer. */
const actionMs = 30_000
/** Of the report that is kept in the sandbox: nobody reads thousands of them there. */
const keptFailures = 200
const keptFailureBytes = 128 * 1024

interface AcquireOptions {
  pace?: Partial<typeof defaultPace>
  /** What the same command does once the lock is acquired: a script and its arguments. */
  then?: { script: string, args: string[] }
  /** Ends that script. */
  signal?: AbortSignal
}

/** The lock of a sandbox's one sync. */
export interface SyncLock {
  /** What the script behind the lock prints. */
  output: ByteReader
  /** Gives the lock back, and keeps the report for every replica. @throws {WorkspaceLost} */
  release (last?: LastSync): Promise<void>
}

/**
 * Acquires the sync lock of a sandbox, against every replica.
 * @param onLost called when another sync has the lock, or will have it soon: this one has to stop.
 * @throws {AppError} SYNC_ACTIVE, {WorkspaceLost}.
 */
export async function acquireSyncLock (
  commands: SandboxCommands, onLost: (reason: WorkspaceLost) => void, options: AcquireOptions = {}
): Promise<SyncLock> {
  const { heartbeatMs, giveUpMs, holdMs } = { ...defaultPace, ...options.pace }
  const { then = { script: ':', args: [] }, signal } = options
  const id = randomId('sync')
  // One command for the whole sync: to release the lock with another one costs a round trip and a process more.
  const releaseInput = new PassThrough()
  const command = [...lockCommand('hold', id), then.script, ...then.args]
  const running = await commands.start(command, { stdin: releaseInput, timeoutMs: holdMs })
  signal?.addEventListener('abort', running.cancel, { once: true })
  if (signal?.aborted) running.cancel()
  const output = new ByteReader(running.stdout)
  const line = await withDeadline(actionMs, () => output.until('\n')).catch((cause: unknown) => {
    releaseInput.end()
    running.cancel()
    throw cause instanceof WorkspaceLost ? cause : new WorkspaceLost('the sync lock could not be acquired', cause)
  })
  if (line?.toString() !== 'acquired') {
    releaseInput.end()
    const { exitCode, stderr } = await running.finish()
    if (exitCode === exitLocked) throw new AppError('SYNC_ACTIVE')
    throw new WorkspaceLost(`the sync lock could not be acquired: ${stderr.slice(0, 300)}`)
  }
  const stopHeartbeat = startHeartbeat(commands, id, { heartbeatMs, giveUpMs }, onLost)
  return {
    output,
    async release (last) {
      stopHeartbeat()
      signal?.removeEventListener('abort', running.cancel)
      const report = last === undefined ? '\n' : `${JSON.stringify(shorten(last))}\n`
      releaseInput.end(report)
      const released = await withDeadline(releaseMs, () => output.until(`released ${id}\n`)).catch(() => undefined)
      if (released === undefined) {
        running.cancel()
        await runAction(commands, 'release', id, report)
      } else {
        running.finish().catch(() => {})
      }
    }
  }
}

/** What the sandbox says about its syncs. Only its owner sees it, so nothing but its form is checked. */
export async function readSyncState (commands: SandboxCommands): Promise<{ active: boolean, last: LastSync | null }> {
  const { stdout } = await runAction(commands, 'show')
  const [first, ...rest] = stdout.split('\n')
  return { active: first === 'active', last: parseLastSync(rest.join('\n')) }
}

function startHeartbeat (
  commands: SandboxCommands, id: string, { heartbeatMs, giveUpMs }: Pick<typeof defaultPace, 'heartbeatMs' | 'giveUpMs'>,
  onLost: (reason: WorkspaceLost) => void
): () => void {
  let lastBeat = performance.now()
  let isStopped = false
  const lose = (message: string) => { if (!isStopped) onLost(new WorkspaceLost(message)) }
  const heartbeat = setInterval(async () => {
    const now = performance.now()
    if (now - lastBeat > giveUpMs) return lose('its sandbox does not answer')
    const { exitCode } = await runAction(commands, 'keep', id).catch(() => ({ exitCode: undefined }))
    if (exitCode === 0) lastBeat = Math.max(lastBeat, now)
    else if (exitCode === exitLocked) lose('another sync has taken over')
  }, heartbeatMs)
  return () => {
    isStopped = true
    clearInterval(heartbeat)
  }
}

async function runAction (commands: SandboxCommands, action: 'keep' | 'release' | 'show', id = '', stdin = '') {
  return await commands.run(lockCommand(action, id), { stdin, deadlineMs: actionMs })
}

function lockCommand (action: string, id: string): string[] {
  return ['sh', '-c', syncLockScript, 'sync-lock', stateDirectory, action, id]
}

function parseLastSync (text: string): LastSync | null {
  try {
    const { direction, finishedAt, report } = JSON.parse(text)
    if (!Value.Check(SyncReport, report) || direction !== report.direction) return null
    return { direction, finishedAt: new Date(finishedAt).toISOString(), report }
  } catch {
    return null
  }
}

function shorten ({ report, ...rest }: LastSync): LastSync {
  let bytes = 0
  const some = (problems: Problem[] = []) => problems.slice(0, keptFailures)
    .filter((problem) => (bytes += Buffer.byteLength(JSON.stringify(problem))) <= keptFailureBytes)
  return { ...rest, report: { ...report, failed: some(report.failed), warnings: some(report.warnings) } }
}
