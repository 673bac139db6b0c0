# Records the end of a run whose runner could not: somebody has killed it, or its sandbox is gone.
# usage: bury.sh <state directory> <runs directory> <run id> <marker of its processes> <what was lost: runner or sandbox>
state=$1/$3 directory=$2/$3
pid=$(cat "$state/pid" 2>/dev/null)
[ -n "$pid" ] && grep -qF "$3" "/proc/$pid/cmdline" 2>/dev/null && exit 0
if [ -e "$state/kill.sh" ]; then sh "$state/kill.sh" "$4" TERM 10 KILL 20; fi
read -r reason 2>/dev/null < "$state/stop"
[ -f "$directory/log" ] && [ ! -L "$directory/log" ] && mkdir "$directory/ended" 2>/dev/null && {
  [ ! -e "$state/settle.sh" ] || sh "$state/settle.sh" "$state" "$3"
  printf '\036{"record":"ended","run":"%s","exitCode":null,"stop":"%s","lost":"%s"}\n' "$3" "$reason" "$5"
} >> "$directory/log"
[ "$(readlink "$1/active" 2>/dev/null)" = "$3" ] && rm -f "$1/active"
[ ! -d "$state" ] || echo 255 > "$state/exit"
exit 0
