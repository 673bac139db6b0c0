# Looks whether a run has ended, and when its runner is dead or its sandbox gone, ends what is left of it and records
# its end. Behind lib.sh.
# usage: settle-run.sh <state directory> <runs directory> <run id> [<ended or sandbox: what is known to have ended>]
# Prints the size of its log; exits 3 when the run goes on, 66 when there is no log. Otherwise as end-run.sh.
state=$1/$3 directory=$2/$3
[ -n "$4" ] || ! is_active "$state" "$3" || exit 3
lost=runner
[ "$4" != sandbox ] || lost=sandbox
settle_run "$state" "$directory" "$3" $lost || exit 1
[ -f "$directory/log" ] && [ ! -L "$directory/log" ] || exit 66
echo $(($(wc -c < "$directory/log")))
