# Finds the processes of a command or a run, and ends them. Behind clock.sh.
# Works with dash, bash and busybox: one grep reads the NUL-separated entries, or one for each process where it stops at
# the first NUL (as busybox's does, unless it was built to be compatible); all else is the shell's own.

# An image may have variables of these names.
lowest='' highest='' since='' ended=''

# Signals, stage after stage, every process whose environment has one of the markers, their descendants, everything in a
# session that one of them led, and the strays of a run (see `is_stray`). Prints how many are left, if any are.
# usage: end_processes <markers, one per line> (<signal> <wait in tenths of a second>)...
# Returns 0 when nothing of it is left, 1 otherwise. When the variable `ended` names a file, its existence says that the
# process that was interrupted with INT has gone: the rest need not be waited for.
# Of a run, `lowest` and `highest` are set: the limits on file sizes, in blocks of 512 bytes, that mark its processes;
# and `since`, the centiseconds of the sandbox's clock when it began.
# shellcheck disable=SC2154 # clock.sh sets now
end_processes () {
  markers=$1 family=' ' certain=no
  shift
  if [ -n "$lowest" ] && (ulimit -f "$lowest" && ! (ulimit -f $((lowest + 1)))) 2>/dev/null; then certain=yes; fi
  while [ $# -gt 0 ]; do
    is_any_alive || return 0
    signal "$1"
    clock
    deadline=$((now + 10 * $2))
    while clock; [ "$now" -lt $deadline ]; do
      sleep 0.1 2>/dev/null || sleep 1
      is_any_alive || return 0
      # Repeated, as a process may fork between being found and being killed.
      [ "$1" = KILL ] && signal KILL
      [ "$1" = INT ] && [ -e "${ended:-/nowhere}" ] && break
    done
    shift 2
  done
  is_any_alive || return 0
  # shellcheck disable=SC2086 # it is to be split
  set -- $found
  echo $#
  return 1
}

if printf 'a\0b' | grep -qF b; then
  marked () { grep -lFe "$markers" "$@"; }
else
  marked () { for file; do tr '\0' '\n' < "$file" | grep -qFe "$markers" && echo "$file"; done; }
fi

signal () { for pid in $found; do kill -"$1" "$pid" 2>/dev/null; done; }

add () { found="$found$1 "; case $family in *" $1 "*) ;; *) family="$family$1 ";; esac; more=yes; }

# Sets `found`.
is_any_alive () {
  found=' ' orphans=''
  for file in $(marked /proc/[0-9]*/environ 2>/dev/null); do pid=${file#/proc/}; add "${pid%/*}"; done
  more=no
  find_relatives
  if [ -n "$lowest" ]; then
    for orphan in $orphans; do if is_stray "${orphan%:*}" "${orphan#*:}"; then add "${orphan%:*}"; fi; done
  fi
  while [ $more = yes ]; do more=no; find_relatives; done
  [ "$found" != ' ' ]
}

# Sets `stat` to what there is in a process's `stat` after its name, which may hold anything, line breaks, too: state,
# parent, group, session, as the 18th the number of threads, and as the 20th the start in centiseconds of the sandbox's
# clock. usage: read_stat <file>
read_stat () {
  stat=
  while read -r part || [ -n "$part" ]; do stat="$stat $part"; done < "$1"
  stat=${stat##*) }
} 2>/dev/null

# Whether nothing of a process runs any more. It looks like a zombie, and has no environment, when its first thread has
# ended before others; then this sets `thread` to the directory of one that lives.
# usage: is_dead <pid> <state, if any> <number of threads>
is_dead () {
  thread=
  case ${2:-X} in X) return 0;; Z) ;; *) return 1;; esac
  [ "$3" -gt 1 ] || return 0
  for thread in "/proc/$1/task/"*; do
    read_stat "$thread/stat"
    case $stat in '' | [ZX]*) ;; *) return 1;; esac
  done
}

find_relatives () {
  for file in /proc/[0-9]*/stat; do
    pid=${file#/proc/} pid=${pid%/*}
    case $found in *" $pid "*) continue;; esac
    [ "$pid" = $$ ] && continue
    read_stat "$file"
    # shellcheck disable=SC2086 # it is to be split
    set -- $stat
    is_dead "$pid" "${1:-}" "${18:-0}" && continue
    if [ -n "$thread" ] && [ -n "$(marked "$thread/environ" 2>/dev/null)" ]; then add "$pid"; continue; fi
    case $family in
      *" $pid "* | *" $2 "* | *" $4 "*) add "$pid";;
      *) if [ "$2" = 1 ]; then orphans="$orphans $pid:${20}"; fi;;
    esac
  done
}

# Whether a process without a parent is the run's. A tool may clear the environment of what it starts and leave its
# session, but what it starts inherits the run's limit on the size of files, which only a privileged process can raise:
# with a lower one it is the run's if it has come since the run began, whatever its environment says. Where limits are no
# evidence (they can be raised here, or cannot be read), it must not carry the marker of another command, either.
# usage: is_stray <pid> <start>
is_stray () {
  hard=
  while read -r first second third _ value _; do
    if [ "$first $second $third" = 'Max file size' ]; then hard=$value; break; fi
  done 2>/dev/null < "/proc/$1/limits"
  [ -n "$hard" ] || hard=$(prlimit --pid "$1" --fsize --noheadings --raw -o HARD 2>/dev/null)
  lowered=no
  case $hard in
    '') ;;
    *[!0-9]*) [ "$certain" = no ] || return 1;;
    *)
      [ "$hard" -gt $((highest * 512)) ] && [ "$certain" = yes ] && return 1
      [ "$hard" -ge $((lowest * 512)) ] && [ "$hard" -le $((highest * 512)) ] && return 0
      lowered=$certain;;
  esac
  [ -n "$since" ] && [ "$2" -ge "$since" ] || return 1
  [ "$lowered" = yes ] || ! cat "/proc/$1/task/"*/environ 2>/dev/null | tr '\0' '\n' | grep -q "^${markers%%=*}="
}
