# Ends Claude and everything it has started, and records why. Exits with 0 when nothing of it is left.
# usage: stop.sh <reason> <state of the run> <directory of the run> <marker of its processes>
# With its result there Claude had done its work: only what hangs around is stopped, and that is no reason to tell.
if [ ! -s "$2/stop" ] && ! sh "$2/judge.sh" "$3/log"; then echo "$1" > "$2/stop"; fi
mkdir -p "$2/stopping"
# A run that is only just starting has nothing to end yet: Claude is about to come, or the note keeps it from coming.
waited=0
while [ ! -e "$2/code" ] && [ ! -e "$2/exit" ] && [ $waited -lt 30 ]; do
  grep -qsFe "$4" /proc/[0-9]*/environ && break
  runner=
  read -r runner 2>/dev/null < "$2/pid"
  [ -z "$runner" ] || [ -e "/proc/$runner" ] || break
  sleep 0.1 2>/dev/null || sleep 1
  waited=$((waited + 1))
done
# Claude first gets the chance to end its tools and save the conversation; what it leaves behind gets less.
ended=$2/code sh "$2/kill.sh" "$4" INT 15 TERM 3 KILL 30
left=$?
rmdir "$2/stopping"
exit $left
