# Closes requests for permission, and prints the records of their answers; see `close_permissions`.
# usage: close-permissions.sh <state of the run> <run id> <by whom: run_end or claude> [<request id>]
# shellcheck disable=SC1091 # lib.sh lies in the sandbox
. "$1/lib.sh"
close_permissions "$@"
