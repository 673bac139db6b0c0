# Answers what Claude has asked for: one answer counts, whoever gives it. What Claude is told comes on standard input.
# usage: answer.sh <state of the run> <run id> <id of the request> <allow or deny> <by whom>
# Exits 66 when there is no such request, 75 when it has its answer.
directory=$1/asked/$3
[ -e "$directory/until" ] || exit 66
# Made in one step, with the answer on it.
ln -sn "$4 $5" "$directory/resolved" 2>/dev/null || exit 75
# Opened for reading, too: when nobody is at the other end any more, nothing waits. What nobody reads is told at the end.
printf '\036{"record":"resolved","run":"%s","id":"%s","decision":"%s","by":"%s"}\n' "$2" "$3" "$4" "$5" \
  1<>"$1/said" 2>/dev/null < /dev/null &
# In one piece, as no line is longer than 4096 bytes: somebody else may be answering, too.
printf '{"type":"control_response","response":{"subtype":"success","request_id":"%s","response":%s}}\n' "$3" "$(cat)" 1<>"$1/in"
