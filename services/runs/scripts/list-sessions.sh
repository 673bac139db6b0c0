# Prints the conversations, newest first, each in four lines: `<session id> <seconds since 1970> <messages>`, its first
# prompt and its first timestamp as they stand in the transcript, and the name that it was given.
# usage: list-sessions.sh <the CLI's directory> <how many>
# shellcheck disable=SC2015 # nothing between && and || has effects
cd "$1/projects" 2>/dev/null || exit 0
# shellcheck disable=SC2012 # find cannot sort by time; a name that ls would garble is not a session's.
ls -t -- */*.jsonl 2>/dev/null | head -n "$2" | while read -r file; do
  [ -f "$file" ] && [ ! -L "$file" ] || continue
  session=${file##*/}
  echo "${session%.jsonl} $(stat -c %Y -- "$file") $(grep -acE '"type":"(user|assistant)",' -- "$file")"
  # Not what the CLI says of its commands, and not the one that has only begun the conversation.
  grep -a '"type":"user"' -- "$file" | grep -avEm1 '"isMeta":true|<command-name>/clear<' | head -c 8192 | tr -d '\n'; echo
  grep -aom1 '"timestamp":"[^"]*"' -- "$file" | head -n 1 | head -c 100 | tr -d '\n'; echo
  name=../titles/${session%.jsonl}
  [ ! -f "$name" ] || [ -L "$name" ] || head -n 1 "$name" | head -c 1000 | tr -d '\n'; echo
done
