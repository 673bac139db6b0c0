# Takes the sandbox's run lock and writes the run's files; the prompt comes on standard input. Behind lib.sh.
# usage: prepare.sh <state directory> <lock> <runs directory> <run id> <workdir> <first line of the log> <programs>
#   <conversation to fork, or - for none> <its last message that is kept, or - for all> <id and name of the new one>
#   <name> <script>...
# Exits 75 and prints the active run's id when the lock is taken, 76 and prints a program that the image lacks, 77 when
# something of an earlier run cannot be ended, 78 when there is no such conversation to fork, 79 when there is no such message,
# 80 when there is a conversation with the new one's id.
# shellcheck disable=SC2154 # lib.sh sets holder, now, the markers and limits
umask 077
state=$1 lock=$2 runs=$3 run=$4 workdir=$5 started=$6 programs=$7 fork=$8 message=$9
shift 9
session=$1 title=$2
shift 2
alive () { is_active "$state/$1" "$1"; }
abandon () { rm -rf "${state:?}/$run" "${runs:?}/$run"; exit "$1"; }

for program in $programs; do command -v "$program" > /dev/null || { printf %s "$program"; exit 76; }; done
if [ "$fork" != - ]; then
  transcript=
  for file in "${runs%/*}"/projects/*/"$fork".jsonl; do [ -f "$file" ] && [ ! -L "$file" ] && transcript=$file; done
  [ -n "$transcript" ] || exit 78
  for file in "${runs%/*}"/projects/*/"$session".jsonl; do [ -e "$file" ] && exit 80; done
  [ "$message" = - ] || grep -qF "\"uuid\":\"$message\"" "$transcript" || exit 79
fi
# Alive from here on, as has to be before it takes the lock.
mkdir -p "$state/$run" "$runs/$run" "$workdir" || abandon 1
# Or `git add --all` would put Claude's directory into the user's commits, and switching branches would change it.
[ -e "${runs%/*}/.gitignore" ] || printf '*\n' > "${runs%/*}/.gitignore" || abandon 1
acquire "$lock" "$run"
case $? in
  0) ;;
  1) printf %s "$holder"; abandon 75;;
  *) abandon 1;;
esac
# Nothing of an earlier run may be at work beside this one: its runner may have been killed, or made to exit.
earlier="$claude_marker=-"
for other in "$state"/run_*; do
  other=${other##*/}
  [ "$other" = "$run" ] || earlier="$earlier
$claude_marker=$other
$runner_marker=$other"
done
# shellcheck disable=SC2034 # kill.sh reads them
lowest=$lowest_limit highest=$highest_limit
end_processes "$earlier" TERM 10 KILL 20 > /dev/null < /dev/null || abandon 77
clock
echo "$now" > "$state/$run/since"
while [ $# -gt 0 ]; do printf %s "$2" > "$state/$run/$1" || abandon 1; shift 2; done
cat > "$state/$run/prompt" || abandon 1
printf '%s\n' "$started" > "$runs/$run/log" || abandon 1
[ "$fork" = - ] || { mkdir -p "${runs%/*}/titles" && printf '%s\n' "$title" > "${runs%/*}/titles/$session"; } || abandon 1
