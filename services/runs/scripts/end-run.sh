# Ends a run from outside. Behind lib.sh.
# usage: end-run.sh <state directory> <runs directory> <run id> <cancelled or timeout>
# Prints how many processes are left, and exits with 1, when some are.
end_run "$1/$3" "$2/$3" "$3" "$4"
