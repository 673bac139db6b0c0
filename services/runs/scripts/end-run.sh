# Ends a run from outside, whatever of it still works, and sees to it that its log has an end. Behind lib.sh.
# usage: end-run.sh <state directory> <runs directory> <run id> <cancelled or timeout>
# Prints how many processes are left, and exits with 1, when some are.
state=$1/$3 directory=$2/$3
stop_run "$4" "$state" "$directory/log" "$3" || exit 1
# The runner records the end by itself, unless it was killed or stands still.
waited=0
while is_runner_alive "$state" "$3" && [ $waited -lt 30 ]; do sleep 0.1 2>/dev/null || sleep 1; waited=$((waited + 1)); done
settle_run "$state" "$directory" "$3" runner
