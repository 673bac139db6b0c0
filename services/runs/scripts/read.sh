# Prints so many bytes of a run's log from a position on. Exits 66 when there is no such log.
# usage: read.sh <state of the run> <log> <position> <bytes> <what counts as a reader's beat, or nothing>
[ -f "$2" ] && [ ! -L "$2" ] || exit 66
if [ -n "$5" ] && [ -d "$1" ]; then echo "$5" > "$1/lease"; fi
tail -c "+$(($3 + 1))" "$2" | head -c "$4"
