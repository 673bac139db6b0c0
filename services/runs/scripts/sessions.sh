# Prints what conversations there are, the newest first, each in three lines: `<session id> <seconds since 1970> <messages>`,
# its first words and its first time, as they stand in the transcript.
# usage: sessions.sh <the CLI's directory> <how many>
cd "$1/projects" 2>/dev/null || exit 0
ls -t -- */*.jsonl 2>/dev/null | head -n "$2" | while read -r file; do
  [ -f "$file" ] && [ ! -L "$file" ] || continue
  session=${file##*/}
  echo "${session%.jsonl} $(stat -c %Y -- "$file") $(grep -acE '"type":"(user|assistant)",' -- "$file")"
  grep -am1 '"type":"user"' -- "$file" | head -c 8192 | tr -d '\n'; echo
  grep -aom1 '"timestamp":"[^"]*"' -- "$file" | head -n 1 | head -c 100 | tr -d '\n'; echo
done
