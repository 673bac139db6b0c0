import { Value } from '@sinclair/typebox/value'
import { PassThrough } from 'node:stream'
import { AppError } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import { SyncReport, type LastSync } from '../../schemas/sync.js'
import { within } from '../sandboxes/steps.js'
import { ByteReader } from './byte-reader.js'
import { beatScript, exitTaken, leaveScript, stateScript, takeScript } from './lock-scripts.js'
import type { Running, SandboxExec } from './sandbox-exec.js'
import { WorkspaceLost } from './workspace.js'

/** Private to the sandbox, beside what runs keep there. */
const state = '/tmp/.modal-sandbox'
/** A holder that could not say that it lives for `giveUpMs` stops, before another one may take its place. */
const usualPace = { heartbeatMs: 8000, giveUpMs: 25_000 }
/** The last report is kept in the sandbox: what is wrong with thousands of files is not read there. */
const keptFailures = 200
/** Who took the place is told to leave, and by another command when it does not say in this time that it has. */
const leaveMs = 5000

export interface TakeOptions {
  pace?: typeof usualPace
  /** What the same command does as soon as the place is taken: a script and its arguments. */
  first?: { script: string, args: string[] }
  /** Ends that work. */
  signal?: AbortSignal
}

export interface Held {
  /** What the first work says. */
  output: ByteReader
  /** Gives the place back, and keeps the report for whoever asks on any replica. */
  leave (last?: LastSync): Promise<void>
}

/**
 * Takes a sandbox' one place for a sync, against every replica.
 * @param onLost the place is another's, or will be soon: the sync has to stop.
 * @throws {AppError} SYNC_ACTIVE, {WorkspaceLost}.
 */
export async function takeLock (
  exec: SandboxExec, onLost: (reason: WorkspaceLost) => void, options: TakeOptions = {}
): Promise<Held> {
  const { pace: { heartbeatMs, giveUpMs } = usualPace, first = { script: ':', args: [] }, signal } = options
  const id = randomId('sync')
  const farewell = new PassThrough()
  const command = ['sh', '-c', takeScript(first.script), 'take', state, id, ...first.args]
  const holder = await exec.start(command, { stdin: farewell })
  const output = new ByteReader(holder.stdout)
  await waitUntilTaken(holder, output)
  signal?.addEventListener('abort', holder.cancel, { once: true })
  if (signal?.aborted) holder.cancel()
  let lastBeat = performance.now()
  const beat = setInterval(async () => {
    const now = performance.now()
    if (now - lastBeat > giveUpMs) return onLost(new WorkspaceLost('its sandbox does not answer'))
    const { exitCode } = await exec.run(['sh', '-c', beatScript, 'beat', state, id]).catch(() => ({ exitCode: undefined }))
    if (exitCode === 0) lastBeat = now
    else if (exitCode === exitTaken) onLost(new WorkspaceLost('another sync has taken its place'))
  }, heartbeatMs)
  return {
    output,
    async leave (last) {
      clearInterval(beat)
      const report = last === undefined ? '\n' : `${JSON.stringify(shortened(last))}\n`
      farewell.end(report)
      const answer = await within(leaveMs, () => output.until('left\n')).catch(() => undefined)
      signal?.removeEventListener('abort', holder.cancel)
      holder.finish().catch(() => {})
      if (answer === undefined) await exec.run(['sh', '-c', leaveScript, 'leave', state, id], { stdin: report })
    }
  }
}

async function waitUntilTaken (holder: Running, output: ByteReader) {
  const said = (await output.until('\n'))?.toString() ?? ''
  if (said === 'taken') return
  const { exitCode } = await holder.finish()
  if (exitCode === exitTaken) throw new AppError('SYNC_ACTIVE')
  throw new WorkspaceLost(`the sync could not be announced in the sandbox: ${said.slice(0, 300)}`)
}

/** What the sandbox says about its syncs; only its owner sees it, so it need not be believed beyond its form. */
export async function readState (exec: SandboxExec): Promise<{ active: boolean, last: LastSync | null }> {
  const { stdout } = await exec.run(['sh', '-c', stateScript, 'state', state])
  const [first, ...rest] = stdout.split('\n')
  return { active: first === 'active', last: parse(rest.join('\n')) }
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
