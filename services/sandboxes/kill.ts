import type { Sandbox } from 'modal'
import { call } from './steps.js'

/** Every process of an exec has this variable: its value is the exec's id. */
export const execMarker = 'MODAL_SANDBOX_EXEC_ID'

export interface KillStage {
  signal: 'INT' | 'TERM' | 'KILL'
  /** How long to wait for the processes to go before the next stage; tenths of a second count. */
  waitMs: number
}

export const gracefulThenKill: readonly KillStage[] = [{ signal: 'TERM', waitMs: 1000 }, { signal: 'KILL', waitMs: 2000 }]

/**
 * Signals, stage after stage, every process whose environment has one of the texts, their descendants, and whoever is
 * in a session that one of them led: a tool may clear the environment of what it starts, or leave its parent. Works
 * with dash, bash and busybox: one grep reads the NUL-separated entries, or one for each process where it stops at the
 * first NUL (as busybox' does, unless it was built to be compatible); all else is the shell's own. KILL is repeated, as
 * a process may fork between being found and being killed. A file that the variable `ended` names says that who was
 * asked with INT has gone: the rest need not be waited for.
 */
export const killScript = `
markers=$1; shift
family=' '
if printf 'a\\0b' | grep -qF b; then
  marked () { grep -lFe "$markers" /proc/[0-9]*/environ; }
else
  marked () { for file in /proc/[0-9]*/environ; do tr '\\0' '\\n' < "$file" | grep -qFe "$markers" && echo "$file"; done; }
fi
alive () {
  found=' '
  for file in $(marked 2>/dev/null); do pid=\${file#/proc/}; add "\${pid%/*}"; done
  more=yes
  while [ $more = yes ]; do more=no; relatives; done
  [ "$found" != ' ' ]
}
add () { found="$found$1 "; case $family in *" $1 "*) ;; *) family="$family$1 ";; esac; }
relatives () {
  for file in /proc/[0-9]*/stat; do
    read -r stat 2>/dev/null < "$file" || continue
    pid=\${stat%% *}
    case $found in *" $pid "*) continue;; esac
    [ "$pid" = $$ ] && continue
    # After the name, which may hold anything: state, parent, group, session.
    set -- \${stat##*) }
    case $1 in [ZX]) continue;; esac
    case $family in *" $pid "*|*" $2 "*|*" $4 "*) add "$pid"; more=yes;; esac
  done
}
signal () { for pid in $found; do kill -"$1" "$pid" 2>/dev/null; done; }
# In centiseconds, and without a process for each look.
clock () { read -r up _ < /proc/uptime; centis=\${up#*.}; now=$((\${up%.*} * 100 + 1$centis - 100)); }
while [ $# -gt 0 ]; do
  alive || exit 0
  signal "$1"
  clock
  deadline=$((now + 10 * $2))
  while clock; [ $now -lt $deadline ]; do
    sleep 0.1 2>/dev/null || sleep 1
    alive || exit 0
    [ "$1" = KILL ] && signal KILL
    [ "$1" = INT ] && [ -e "\${ended:-/nowhere}" ] && break
  done
  shift 2
done
alive && exit 1
exit 0`

/**
 * Modal has no call that kills an exec, so a second exec does it. Needs sh and grep in the image.
 * @param marker text in the environment of what has to go, such as `NAME=value`; several: one per line.
 * @returns whether nothing of it is left, and the exit code that says so.
 * @throws {AppError} when the sandbox could not be reached.
 */
export async function killMarked (
  sandbox: Sandbox, marker: string, stages: readonly KillStage[] = gracefulThenKill
): Promise<boolean> {
  const argv = stages.flatMap(({ signal, waitMs }) => [signal, String(Math.ceil(waitMs / 100))])
  const patience = 15_000 + stages.reduce((sum, { waitMs }) => sum + 2 * waitMs, 0)
  return await call('kill', patience, async () => {
    const killer = await sandbox.exec(['sh', '-c', killScript, 'kill-marked', marker, ...argv], {
      workdir: '/', stdout: 'ignore', stderr: 'ignore', timeoutMs: 1000 * Math.ceil(patience / 1000)
    })
    // `wait()` would retry for ever when the sandbox goes meanwhile (modal 0.11.1).
    return await killer._wait(AbortSignal.timeout(patience)) === 0
  }, { conflict: 'SANDBOX_ENDED', notFound: 'SANDBOX_ENDED' })
}
