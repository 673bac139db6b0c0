# Answers a request for permission, of which only the first answer counts. What Claude is told comes on standard input.
# usage: answer-permission.sh <state of the run> <run id> <request id> <allow or deny> <by whom>
# Exits 66 when there is no such request, 75 when it has been answered.
# shellcheck disable=SC1091 # lib.sh lies in the sandbox
request=$1/permissions/$3
[ -e "$request/deadline" ] || exit 66
. "$1/lib.sh"
# A link is made in one step, with the answer in it.
ln -sn "$4 $5" "$request/resolved" 2>/dev/null || exit 75
# Opened for reading as well: then nothing blocks when the other end has gone. A record that the filter never reads is
# written when the run ends.
resolved "$2" "$3" "$4" "$5" 1<>"$1/output" 2>/dev/null < /dev/null &
# In one write, as no line is longer than the 4096 bytes of an atomic one: other answers may be given at the same time.
printf '{"type":"control_response","response":{"subtype":"success","request_id":"%s","response":%s}}\n' "$3" "$(cat)" \
  1<>"$1/input"
