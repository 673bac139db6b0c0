# Denies requests that have no answer, and prints the records of these denials. At the end of a run also the records of
# answers that are not in the log yet.
# usage: close-permissions.sh <state of the run> <run id> <by whom: run_end or claude> [<request id>]
# Without an id: all of the run's requests.
# shellcheck disable=SC1091,SC2015 # lib.sh lies in the sandbox; nothing between && and || has effects
. "$1/lib.sh"
for request in "$1"/permissions/${4:-*}; do
  [ -e "$request/deadline" ] && [ ! -e "$request/logged" ] || continue
  ln -sn "deny $3" "$request/resolved" 2>/dev/null || [ "$3" = run_end ] || continue
  answer=$(readlink "$request/resolved")
  resolved "$2" "${request##*/}" "${answer% *}" "${answer#* }"
  : > "$request/logged"
done
