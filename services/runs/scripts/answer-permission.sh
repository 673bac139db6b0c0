# Answers a request of Claude's, of which only the first answer counts. What Claude is told comes on standard input: one
# line.
# usage: answer-permission.sh <state of the run> <run id> <request id> <allow or deny> <by whom>
# Exits 66 when there is no such request, 75 when it has been answered, 1 when the answer is not whole.
# shellcheck disable=SC1091 # lib.sh lies in the sandbox
request=$1/permissions/$3 answer=$1/permissions/$3/answer.$$
[ -e "$request/deadline" ] || exit 66
. "$1/lib.sh"
umask 077
cat > "$answer"
[ "$(tail -c 1 "$answer" | wc -l)" -eq 1 ] || { rm "$answer"; exit 1; }
# A link is made in one step, with the answer in it.
ln -sn "$4 $5" "$request/resolved" 2>/dev/null || { rm "$answer"; exit 75; }
response "$3" < "$answer" > "$request/answer"
rm "$answer"
# Opened for reading as well: then nothing blocks when the other end has gone. A record that the filter never reads is
# written when the run ends.
resolved "$2" "$3" "$4" "$5" 1<>"$1/output" 2>/dev/null < /dev/null &
echo "answer $3" 1<>"$1/answers"
