# Prints the time, the record of one file, and its content as it is.
# usage: read-large.sh <workspace> <name>
enter "$1"
now
records "$2"
exec cat "$2"
