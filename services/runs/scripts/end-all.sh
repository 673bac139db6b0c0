# Ends all runs of the sandbox, then asks whatever else commands have left in it to stop. Behind lib.sh.
# usage: end-all.sh <state directory> <runs directory> <variable that marks the processes of commands>
#   <how long they get to stop in tenths of a second>
# Prints a line as soon as the runs are over: how many of their processes are left.
# shellcheck disable=SC2154 # lib.sh sets alive
left=0
find_alive
for state in "$1"/run_*; do
  run=${state##*/} directory=$2/${state##*/} more=0
  case $run in run_*[!a-z0-9]*) continue;; esac
  case $alive in
    *" $run "*) more=$(end_run "$state" "$directory" "$run" cancelled);;
    *)
      # With nothing that is alive it may be about to begin, or have been lost.
      [ -d "$state" ] && [ ! -e "$state/exit" ] || continue
      if is_active "$state" "$run"; then more=$(end_run "$state" "$directory" "$run" cancelled)
      else more=$(settle_run "$state" "$directory" "$run" runner); fi;;
  esac
  left=$((left + ${more:-0}))
done
echo $left
end_processes "$3=" TERM "$4" > /dev/null
exit 0
