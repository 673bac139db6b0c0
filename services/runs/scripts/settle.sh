# Denies what is still open when a run ends, and prints records of all answers that are not in its log.
# usage: settle.sh <state of the run> <run id>
for directory in "$1"/asked/*; do
  [ -e "$directory/until" ] && [ ! -e "$directory/told" ] || continue
  ln -sn 'deny run_end' "$directory/resolved" 2>/dev/null
  answer=$(readlink "$directory/resolved")
  printf '\036{"record":"resolved","run":"%s","id":"%s","decision":"%s","by":"%s"}\n' "$2" "${directory##*/}" "${answer% *}" "${answer#* }"
  : > "$directory/told"
done
