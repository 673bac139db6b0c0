# Records the end of a run whose runner cannot: it was killed, or its sandbox is gone. Behind lib.sh.
# usage: record-lost-end.sh <state directory> <runs directory> <run id> <marker of its processes>
#   <what was lost: runner or sandbox>
# shellcheck disable=SC2154 # lib.sh sets line
state=$1/$3 directory=$2/$3
is_runner_alive "$state" "$3" && exit 0
if [ -e "$state/kill.sh" ]; then sh "$state/kill.sh" "$4" TERM 10 KILL 20; fi
first_line "$state/stop"
# Only one may write the end: the one that makes this directory.
[ -f "$directory/log" ] && [ ! -L "$directory/log" ] && mkdir "$directory/ended" 2>/dev/null && {
  [ ! -e "$state/close-permissions.sh" ] || sh "$state/close-permissions.sh" "$state" "$3" run_end
  ended "$3" '' "$line" "\"lost\":\"$5\""
} >> "$directory/log"
[ ! -d "$state" ] || echo 255 > "$state/exit"
exit 0
