# Signals, stage after stage, every process whose environment has one of the markers, their descendants, and everything
# in a session that one of them led: a tool may clear the environment of what it starts, or leave its parent. Behind
# clock.sh.
# usage: kill.sh <markers, one per line> (<signal> <wait in tenths of a second>)...
# Exits with 0 when nothing of it is left, 1 otherwise. When the variable `ended` names a file, its existence says that
# the process that was interrupted with INT has gone: the rest need not be waited for.
# Works with dash, bash and busybox: one grep reads the NUL-separated entries, or one for each process where it stops at
# the first NUL (as busybox's does, unless it was built to be compatible); all else is the shell's own.
# shellcheck disable=SC2154 # clock.sh sets now
markers=$1; shift
family=' '
if printf 'a\0b' | grep -qF b; then
  marked () { grep -lFe "$markers" /proc/[0-9]*/environ; }
else
  marked () { for file in /proc/[0-9]*/environ; do tr '\0' '\n' < "$file" | grep -qFe "$markers" && echo "$file"; done; }
fi
alive () {
  found=' '
  for file in $(marked 2>/dev/null); do pid=${file#/proc/}; add "${pid%/*}"; done
  more=yes
  while [ $more = yes ]; do more=no; relatives; done
  [ "$found" != ' ' ]
}
add () { found="$found$1 "; case $family in *" $1 "*) ;; *) family="$family$1 ";; esac; }
relatives () {
  for file in /proc/[0-9]*/stat; do
    read -r stat 2>/dev/null < "$file" || continue
    pid=${stat%% *}
    case $found in *" $pid "*) continue;; esac
    [ "$pid" = $$ ] && continue
    # After the name, which may hold anything: state, parent, group, session.
    # shellcheck disable=SC2086 # it is to be split
    set -- ${stat##*) }
    case $1 in [ZX]) continue;; esac
    case $family in *" $pid "*|*" $2 "*|*" $4 "*) add "$pid"; more=yes;; esac
  done
}
signal () { for pid in $found; do kill -"$1" "$pid" 2>/dev/null; done; }
while [ $# -gt 0 ]; do
  alive || exit 0
  signal "$1"
  clock
  deadline=$((now + 10 * $2))
  while clock; [ "$now" -lt $deadline ]; do
    sleep 0.1 2>/dev/null || sleep 1
    alive || exit 0
    # Repeated, as a process may fork between being found and being killed.
    [ "$1" = KILL ] && signal KILL
    [ "$1" = INT ] && [ -e "${ended:-/nowhere}" ] && break
  done
  shift 2
done
alive && exit 1
exit 0
