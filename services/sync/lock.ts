import { Value } from '@sinclair/typebox/value'
import { AppError } from '../../errors.js'
import { ByteReader } from '../../lib/byte-reader.js'
import { randomId } from '../../lib/ids.js'
import { SyncReport, type LastSync } from '../../schemas/sync.js'
import { exitLocked, lockScript, stateDirectory } from '../modal/lock.js'
import { loadScript } from '../modal/script.js'
import type { SandboxCommands } from './workspace/commands.js'
import { WorkspaceLost } from './workspace/workspace.js'

const script = lockScript + loadScript(import.meta.url, 'sync-lock.sh')
/** A holder that could not keep the lock fresh for `giveUpMs` stops, before another one may take over. */
const usualPace = { heartbeatMs: 8000, giveUpMs: 25_000 }
/** The last report is kept in the sandbox: what is wrong with thousands of files is not read there. */
const keptFailures = 200

export interface AcquireOptions {
  pace?: typeof usualPace
  /** What the same command does once the lock is acquired, which saves a round trip: a script and its arguments. */
  then?: { script: string, args: string[] }
  /** Ends that script. */
  signal?: AbortSignal
}

/** The lock of a sandbox's one sync. */
export interface SyncLock {
  /** What the script behind the lock prints. */
  output: ByteReader
  /** Gives the lock back, and keeps the report for everybody who asks, at any replica. @throws {WorkspaceLost} */
  release (last?: LastSync): Promise<void>
}

/**
 * Acquires the sync lock of a sandbox, against every replica.
 * @param onLost another sync has it, or will have it soon: this one has to stop.
 * @throws {AppError} SYNC_ACTIVE, {WorkspaceLost}.
 */
export async function acquireSyncLock (
  commands: SandboxCommands, onLost: (reason: WorkspaceLost) => void, options: AcquireOptions = {}
): Promise<SyncLock> {
  const { pace: { heartbeatMs, giveUpMs } = usualPace, then = { script: '', args: [] }, signal } = options
  const id = randomId('sync')
  const command = ['sh', '-c', `(${script}) || exit\nshift 3\n${then.script}`, 'sync-lock', stateDirectory, 'acquire', id]
  const running = await commands.start([...command, ...then.args])
  const output = new ByteReader(running.stdout)
  const line = (await output.until('\n'))?.toString()
  if (line !== 'acquired') {
    const { exitCode, stderr } = await running.finish()
    if (exitCode === exitLocked) throw new AppError('SYNC_ACTIVE')
    throw new WorkspaceLost(`the sync lock could not be acquired: ${stderr.slice(0, 300)}`)
  }
  signal?.addEventListener('abort', running.cancel, { once: true })
  if (signal?.aborted) running.cancel()
  let lastBeat = performance.now()
  const heartbeat = setInterval(async () => {
    const now = performance.now()
    if (now - lastBeat > giveUpMs) return onLost(new WorkspaceLost('its sandbox does not answer'))
    const { exitCode } = await call(commands, 'keep', id).catch(() => ({ exitCode: undefined }))
    if (exitCode === 0) lastBeat = now
    else if (exitCode === exitLocked) onLost(new WorkspaceLost('another sync has taken over'))
  }, heartbeatMs)
  return {
    output,
    async release (last) {
      clearInterval(heartbeat)
      signal?.removeEventListener('abort', running.cancel)
      running.finish().catch(() => {})
      const report = last === undefined ? '\n' : `${JSON.stringify(shortened(last))}\n`
      await call(commands, 'release', id, report)
    }
  }
}

/** What the sandbox says about its syncs; only its owner sees it, so it need not be believed beyond its form. */
export async function readSyncState (commands: SandboxCommands): Promise<{ active: boolean, last: LastSync | null }> {
  const { stdout } = await call(commands, 'show')
  const [first, ...rest] = stdout.split('\n')
  return { active: first === 'active', last: parse(rest.join('\n')) }
}

async function call (commands: SandboxCommands, action: 'keep' | 'release' | 'show', id = '', stdin = '') {
  return await commands.run(['sh', '-c', script, 'sync-lock', stateDirectory, action, id], { stdin })
}

function parse (text: string): LastSync | null {
  try {
    const { direction, finishedAt, report } = JSON.parse(text)
    if (!Value.Check(SyncReport, report) || direction !== report.direction) return null
    return { direction, finishedAt: new Date(finishedAt).toISOString(), report }
  } catch {
    return null
  }
}

function shortened ({ report, ...rest }: LastSync): LastSync {
  return { ...rest, report: { ...report, failed: report.failed.slice(0, keptFailures) } }
}
