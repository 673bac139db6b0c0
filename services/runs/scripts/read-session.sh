# Prints part of a conversation's transcript. Exits 66 when there is none.
# usage: read-session.sh <the CLI's directory> <session id> <position> <bytes>
# shellcheck disable=SC2015 # nothing between && and || has effects
cd "$1/projects" 2>/dev/null || exit 66
for file in */"$2".jsonl; do
  [ -f "$file" ] && [ ! -L "$file" ] || continue
  tail -c "+$(($3 + 1))" -- "$file" | head -c "$4"
  exit 0
done
exit 66
