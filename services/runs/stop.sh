# Ends Claude and everything it has started, and records why. Exits with 0 when nothing of it is left.
# usage: stop.sh <reason> <state of the run> <directory of the run> <marker of its processes>
# With its result there Claude had done its work: only what hangs around is stopped, and that is no reason to tell.
if [ ! -s "$2/stop" ] && ! sh "$2/judge.sh" "$3/log"; then echo "$1" > "$2/stop"; fi
mkdir -p "$2/stopping"
# Claude first gets the chance to end its tools and save the conversation; what it leaves behind gets less.
ended=$2/code sh "$2/kill.sh" "$4" INT 15 TERM 3 KILL 30
left=$?
rmdir "$2/stopping"
exit $left
