# Prints the records of what waits for an answer. usage: pending.sh <state of the run> <bytes at most>
cd "$1/asked" 2>/dev/null || exit 0
for id in *; do
  [ -e "$id/until" ] && [ ! -L "$id/resolved" ] && cat "$id/request"
done | head -c "$2"
