# Prints a run's log from a position on and follows it, until standard input ends or brings nothing for ten seconds.
# usage: follow.sh <state of the run> <log> <position>
# Exits 66 when there is no such log, 67 when it is shorter than that.
[ -f "$2" ] && [ ! -L "$2" ] || exit 66
[ "$(wc -c < "$2")" -ge "$3" ] || exit 67
# GNU tail accepts fractions of a second; where it cannot be notified of changes (overlay mounts) it polls that often.
pause=1
tail -s 0.02 -n 0 /dev/null 2>/dev/null && pause=0.02
tail -s $pause -c "+$(($3 + 1))" -f "$2" 2>/dev/null &
tail=$!
beats=$(mktemp)
(
  last='' missed=0
  while [ $missed -lt 5 ] && sleep 2; do
    beat=''; read -r beat < "$beats"
    if [ "$beat" = "$last" ]; then missed=$((missed + 1)); else missed=0; fi
    last=$beat
  done
  kill $tail
) > /dev/null 2>&1 < /dev/null &
watcher=$!
while read -r beat && kill -0 $tail 2>/dev/null; do
  echo "$beat" > "$beats"
  case $beat in r*) echo "$$ $beat" > "$1/reader-beat";; esac
done
kill $tail $watcher 2>/dev/null
rm -f "$beats"
exit 0
