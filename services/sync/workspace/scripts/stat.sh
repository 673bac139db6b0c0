# Prints the time and the record of one name.
# usage: stat.sh <workspace> <name>
enter "$1"
now
records "$2"
