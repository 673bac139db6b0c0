# Prints what runs there are, the newest first: a line `<run id> <alive or not> <size of its log> <bytes of its head>
# <bytes of its tail>`, then head and tail of its log. Of a run that is going on there is no tail.
# usage: scan.sh <state directory> <runs directory> <bytes of a head> <bytes of a tail> <how many> <ids that are known...>
# With how many 0: just the runs that follow.
state=$1 runs=$2 head=$3 tail=$4 most=$5
shift 5
cd "$runs" 2>/dev/null || exit 0
if [ "$most" = 0 ]; then wanted=$* known=; else wanted=$(ls -t | head -n "$most") known=" $* "; fi
least () { if [ "$1" -lt "$2" ]; then least=$1; else least=$2; fi; }
for run in $wanted; do
  case $run in run_*[!a-z0-9]*) continue;; run_*) ;; *) continue;; esac
  case $known in *" $run "*) continue;; esac
  [ -f "$run/log" ] && [ ! -L "$run/log" ] || continue
  alive=no
  if [ ! -e "$run/ended" ]; then
    pid=$(cat "$state/$run/pid" 2>/dev/null)
    if [ -n "$pid" ]; then grep -qF "$run" "/proc/$pid/cmdline" 2>/dev/null && alive=yes
    elif [ -n "$(find "$state/$run" -prune -mmin -1 2>/dev/null)" ]; then alive=yes
    fi
  fi
  size=$(($(wc -c < "$run/log")))
  least $size "$head"; head_bytes=$least
  least $size "$tail"; tail_bytes=$least
  [ $alive = yes ] && tail_bytes=0
  echo "$run $alive $size $head_bytes $tail_bytes"
  head -c $head_bytes "$run/log"
  tail -c $tail_bytes "$run/log"
done
