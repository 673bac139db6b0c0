# Names a conversation; the name comes on standard input, and without one its name is removed. Exits 66 when there is no
# such conversation.
# usage: rename-session.sh <the CLI's directory> <session id>
# shellcheck disable=SC2015 # nothing between && and || has effects
umask 077
cd "$1" 2>/dev/null || exit 66
found=
for file in projects/*/"$2".jsonl; do [ -f "$file" ] && [ ! -L "$file" ] && found=1; done
[ -n "$found" ] || exit 66
mkdir -p titles || exit 1
title=$(cat)
if [ -z "$title" ]; then rm -f "titles/$2"; exit; fi
# Whoever reads it at the same time sees the one name or the other.
printf '%s\n' "$title" > "titles/.$2.$$" && mv -f "titles/.$2.$$" "titles/$2"
