# Runs Claude on this terminal and records how it ended.
# usage: runner.sh <run directory> <lock> <session id, or - for none> <claude and its arguments...>
# The key moves from the environment to a descriptor that only Claude reads, and this shell starts over without it:
# neither Claude's tools nor /proc/<this shell>/environ have it then.
if [ -n "${ANTHROPIC_API_KEY:-}" ]; then
  exec 3<<KEY
$ANTHROPIC_API_KEY
KEY
  exec env -u ANTHROPIC_API_KEY CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR=3 sh "$0" "$@"
fi

directory=$1 lock=$2 session=$3
shift 3
# A signal to the whole run must not end this shell before it has recorded the end of Claude.
trap : INT TERM HUP
# Bytes pass as Claude writes them: no echo, no CRLF.
stty raw -echo 2>/dev/null
echo $$ > "$directory/pid"

if [ "$session" != - ]; then
  known=no
  for file in "$CLAUDE_CONFIG_DIR"/projects/*/"$session".jsonl; do [ -e "$file" ] && known=yes; done
  if [ $known = yes ]; then set -- "$@" --resume "$session"; else set -- "$@" --session-id "$session"; fi
fi

"$@" < "$directory/prompt"
code=$?
# In this order: while no end is recorded nobody else takes the place, so the lock is still this run's.
rm -f "$directory/prompt" "$lock"
echo "$code" > "$directory/exit"
exit "$code"
