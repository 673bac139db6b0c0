# Takes the sandbox's one place for a run and writes the run's files; the prompt comes on standard input.
# usage: prepare.sh <state directory> <runs directory> <run id> <workdir> <first line of the log> <programs>
#   <name> <script>...
# Exits 75 and prints the active run's id when the place is taken, 76 when the image lacks a program, and prints it.
umask 077
state=$1 runs=$2 run=$3 workdir=$4 started=$5 programs=$6
shift 6
lock=$state/active
for program in $programs; do command -v $program > /dev/null || { printf %s $program; exit 76; }; done
mkdir -p "$state/$run" "$runs/$run" "$workdir" || exit 1

# The place is a link to the run that has it: made in one step, with its owner's name on it.
if ! ln -sn "$run" "$lock" 2>/dev/null; then
  holder=$(readlink "$lock")
  taken () { rm -rf "${state:?}/$run" "${runs:?}/$run"; printf %s "$holder"; exit 75; }
  pid=$(cat "$state/$holder/pid" 2>/dev/null)
  # A run that has recorded its end, whose runner is gone (its pid may be another's by now), or that was prepared a
  # while ago and never started, has left its place.
  if [ -n "$holder" ] && [ ! -e "$state/$holder/exit" ]; then
    if [ -n "$pid" ]; then grep -qF "$holder" "/proc/$pid/cmdline" 2>/dev/null && taken
    elif [ -n "$(find "$state/$holder" -prune -mmin -1 2>/dev/null)" ]; then taken
    fi
  fi
  # Whoever makes this directory, and nobody else, may take the place over.
  mkdir -p "$state/left" && { [ -z "$holder" ] || mkdir "$state/left/$holder" 2>/dev/null || taken; }
  rm -rf "$lock"
  ln -sn "$run" "$lock" 2>/dev/null || { holder=$(readlink "$lock"); taken; }
fi
while [ $# -gt 0 ]; do printf %s "$2" > "$state/$run/$1" || exit 1; shift 2; done
cat > "$state/$run/prompt" && printf '%s\n' "$started" > "$runs/$run/log"
