# Ends Claude and everything it has started, and notes why. Exits with 0 when nothing of it is left.
# usage: stop.sh <cancelled, timeout, or - for no reason to record> <state of the run> <directory of the run>
#   <marker of its processes>
# Once its result is in the log Claude has done its work: the run was not cut short, only what lingers is ended.
if [ "$1" != - ] && [ ! -s "$2/stop" ] && ! sh "$2/has-result.sh" "$3/log"; then echo "$1" > "$2/stop"; fi
mkdir -p "$2/stopping"
# While a run is starting there is nothing to end yet: Claude is about to come, or the reason keeps it from coming.
waited=0
while [ ! -e "$2/claude-exit" ] && [ ! -e "$2/exit" ] && [ $waited -lt 30 ]; do
  grep -qsFe "$4" /proc/[0-9]*/environ && break
  runner=
  read -r runner 2>/dev/null < "$2/pid"
  [ -z "$runner" ] || [ -e "/proc/$runner" ] || break
  sleep 0.1 2>/dev/null || sleep 1
  waited=$((waited + 1))
done
# Claude first gets the chance to end its tools and save the conversation; what it leaves behind gets less time.
ended=$2/claude-exit sh "$2/kill.sh" "$4" INT 15 TERM 3 KILL 30
left=$?
rmdir "$2/stopping"
exit $left
