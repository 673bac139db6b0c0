import { Value } from '@sinclair/typebox/value'
import { AppError } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import { SyncReport, type LastSync } from '../../schemas/sync.js'
import { SandboxExec } from './sandbox-exec.js'
import { WorkspaceLost } from './workspace.js'

/** Private to the sandbox, beside what runs keep there. */
const state = '/tmp/.modal-sandbox'
const taken = 75
/** A holder that could not say that it lives for `giveUpMs` stops, before another one may take its place. */
const usualPace = { heartbeatMs: 8000, giveUpMs: 25_000 }
/** Seconds after which a holder that says nothing counts as dead. */
const deadAfter = 40
/** The last report is kept in the sandbox: what is wrong with thousands of files is not read there. */
const keptFailures = 200
const longestReport = 256 * 1024

/** Whether the holder's file was touched lately; a time that lies ahead is no sign of life. */
const alive = `
alive () {
  [ -n "$holder" ] || return 1
  age=$(( $(date +%s) - $(stat -c %Y "$1/$holder" 2>/dev/null || echo 0) ))
  [ "$age" -lt ${deadAfter} ] && [ "$age" -gt -${deadAfter} ]
}`

/**
 * The place is a link to its holder's file, made in one step and with the holder's name on it; the file is touched as
 * long as the holder lives. Whoever makes the directory that is named after a dead holder may take its place over.
 */
const takeScript = `${alive}
umask 077
state=$1 id=$2 lock=$1/sync
mkdir -p "$state" && : > "$state/$id" || exit 1
refused () { rm -f "$state/$id"; exit ${taken}; }
ln -sn "$id" "$lock" 2>/dev/null && exit 0
holder=$(readlink "$lock")
alive "$state" && refused
mkdir "$state/left-$holder" 2>/dev/null || refused
rm -rf "$lock"
ln -sn "$id" "$lock" 2>/dev/null || refused`

const leaveScript = `
umask 077
[ "$(readlink "$1/sync")" = "$2" ] || exit 0
if [ -n "$3" ]; then cat > "$1/last-sync"; fi
rm -f "$1/sync" "$1/$2"`

const beatScript = `[ "$(readlink "$1/sync")" = "$2" ] && touch -c "$1/$2" || exit ${taken}`

const stateScript = `${alive}
holder=$(readlink "$1/sync")
alive "$1" && echo active || echo idle
head -c ${longestReport} "$1/last-sync" 2>/dev/null`

export interface Held {
  /** Gives the place back, and keeps the report for whoever asks on any replica. */
  leave (last?: LastSync): Promise<void>
}

/**
 * Takes a sandbox' one place for a sync, against every replica.
 * @param onLost the place is another's, or will be soon: the sync has to stop.
 * @throws {AppError} SYNC_ACTIVE, {WorkspaceLost}.
 */
export async function takeLock (
  exec: SandboxExec, onLost: (reason: WorkspaceLost) => void, { heartbeatMs, giveUpMs } = usualPace
): Promise<Held> {
  const id = randomId('sync')
  const { exitCode, stderr } = await exec.run(['sh', '-c', takeScript, 'take', state, id])
  if (exitCode === taken) throw new AppError('SYNC_ACTIVE')
  if (exitCode !== 0) throw new WorkspaceLost(`the sync could not be announced in the sandbox: ${stderr.slice(0, 300)}`)
  let lastBeat = performance.now()
  const beat = setInterval(async () => {
    const now = performance.now()
    if (now - lastBeat > giveUpMs) return onLost(new WorkspaceLost('its sandbox does not answer'))
    const { exitCode } = await exec.run(['sh', '-c', beatScript, 'beat', state, id]).catch(() => ({ exitCode: undefined }))
    if (exitCode === 0) lastBeat = now
    else if (exitCode === taken) onLost(new WorkspaceLost('another sync has taken its place'))
  }, heartbeatMs)
  return {
    async leave (last) {
      clearInterval(beat)
      const stdin = last === undefined ? '' : JSON.stringify(shortened(last))
      await exec.run(['sh', '-c', leaveScript, 'leave', state, id, last === undefined ? '' : 'report'], { stdin })
    }
  }
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
