# Prints the records of requests that wait for an answer. usage: list-permissions.sh <state of the run> <bytes at most>
cd "$1/permissions" 2>/dev/null || exit 0
for id in *; do
  [ -e "$id/deadline" ] && [ ! -L "$id/resolved" ] && cat "$id/request"
done | head -c "$2"
