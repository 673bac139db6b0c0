# Takes the sandbox's one place for a run and writes the run's files; the prompt comes on standard input.
# usage: prepare.sh <state directory> <run id> <runner script> <workdir> <name of the variable that marks a run>
# Exits 75 and prints the active run's id when the place is taken.
umask 077
state=$1 run=$2 runner=$3 workdir=$4 marker=$5
lock=$state/active
mkdir -p "$state/$run" "$workdir" || exit 1

# The place is a link to the run that has it: made in one step, with its owner's name on it.
if ! ln -sn "$run" "$lock" 2>/dev/null; then
  holder=$(readlink "$lock")
  taken () { printf %s "$holder"; exit 75; }
  pid=$(cat "$state/$holder/pid" 2>/dev/null)
  # A run that has recorded its end, whose runner is gone (its pid may be another's by now), or that was prepared a
  # while ago and never started, has left its place.
  if [ -n "$holder" ] && [ ! -e "$state/$holder/exit" ]; then
    if [ -n "$pid" ]; then grep -qF "$marker=$holder" "/proc/$pid/environ" 2>/dev/null && taken
    elif [ -n "$(find "$state/$holder" -prune -mmin -1 2>/dev/null)" ]; then taken
    fi
  fi
  # Whoever makes this directory, and nobody else, may take the place over.
  mkdir -p "$state/left" && { [ -z "$holder" ] || mkdir "$state/left/$holder" 2>/dev/null || taken; }
  rm -rf "$lock"
  ln -sn "$run" "$lock" 2>/dev/null || { holder=$(readlink "$lock"); taken; }
fi
printf %s "$runner" > "$state/$run/runner.sh" && cat > "$state/$run/prompt"
