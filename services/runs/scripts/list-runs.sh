# Prints runs, newest first: a line `<run id> <yes, no, or left: dead, but not all of it> <size of its log> <bytes of the
# head> <bytes of the tail>`, then head and tail of its log. A run that is going on has no tail. Behind lib.sh.
# usage: list-runs.sh <state directory> <runs directory> <bytes of a head> <bytes of a tail> <how many> <known ids...>
# With 0 for how many: only the runs that are named.
# shellcheck disable=SC2015,SC2154 # nothing between && and || has effects; lib.sh sets the markers
state=$1 runs=$2 head=$3 tail=$4 most=$5
shift 5
cd "$runs" 2>/dev/null || exit 0
# shellcheck disable=SC2012 # find cannot sort by time; a name that ls would garble is not a run's.
if [ "$most" = 0 ]; then wanted=$* known=; else wanted=$(ls -t | head -n "$most") known=" $* "; fi
find_alive
# Sets `least`.
min () { if [ "$1" -lt "$2" ]; then least=$1; else least=$2; fi; }
for run in $wanted; do
  case $run in run_*[!a-z0-9]*) continue;; run_*) ;; *) continue;; esac
  case $known in *" $run "*) continue;; esac
  [ -f "$run/log" ] && [ ! -L "$run/log" ] || continue
  active=no
  if is_active "$state/$run" "$run"; then active=yes; else case $alive in *" $run "*) active=left;; esac; fi
  size=$(($(wc -c < "$run/log")))
  min "$size" "$head"; head_bytes=$least
  min "$size" "$tail"; tail_bytes=$least
  [ $active = yes ] && tail_bytes=0
  echo "$run $active $size $head_bytes $tail_bytes"
  head -c "$head_bytes" "$run/log"
  tail -c "$tail_bytes" "$run/log"
done
