# Prints part of a run's log. Exits 66 when there is no such log.
# usage: read-log.sh <state of the run> <log> <position> <bytes> <a new value for the reader's beat, or nothing>
[ -f "$2" ] && [ ! -L "$2" ] || exit 66
if [ -n "$5" ] && [ -d "$1" ]; then echo "$5" > "$1/reader-beat"; fi
tail -c "+$(($3 + 1))" "$2" | head -c "$4"
