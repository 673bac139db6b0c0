# Deletes a conversation: its transcript, what the CLI keeps of it elsewhere, its name, and the logs of its runs. Prints
# the ids of these runs. Behind lib.sh.
# usage: delete-session.sh <state directory> <lock> <the CLI's directory> <session id> <id of this deletion>
# Exits 66 when there is no such conversation, 75 and prints the id of a run when one of it is going on.
# shellcheck disable=SC2015,SC2154 # nothing between && and || has effects; lib.sh sets holder
state=$1 lock=$2 home=$3 session=$4 deletion=$5
alive () { is_active "$state/$1" "$1"; }
cd "$home" 2>/dev/null || exit 66

# Sets `named` to the conversation of a run: the last that its log names, as `/clear` begins another one, or that with
# which it was started; to nothing where it does not say yet. usage: conversation_of <run id>
conversation_of () {
  named=$(tail -c 65536 "runs/$1/log" 2>/dev/null | grep -ao '"session_id":"[^"]*"' | tail -n 1)
  [ -n "$named" ] || named=$(head -n 1 "runs/$1/log" 2>/dev/null | head -c 8192 | grep -ao '"sessionId":"[^"]*"' | head -n 1)
  named=${named#*:\"}
  named=${named%\"}
}

found=
for file in projects/*/"$session".jsonl; do [ -f "$file" ] && [ ! -L "$file" ] && found=1; done
[ -n "$found" ] || exit 66

# No run begins meanwhile: either this has the lock of runs, or the run of another conversation has it.
trap 'rm -rf "${state:?}/${deletion:?}"' EXIT
mkdir -p "$state/$deletion" || exit 1
acquire "$lock" "$deletion"
case $? in
  0) ;;
  1)
    conversation_of "$holder"
    case $named in '' | "$session") printf %s "$holder"; exit 75;; esac;;
  *) exit 1;;
esac

for run in runs/run_*; do
  run=${run#runs/}
  case $run in *[!a-z0-9_]*) continue;; esac
  conversation_of "$run"
  [ "$named" = "$session" ] || continue
  rm -rf "runs/$run" && echo "$run"
done
rm -rf "session-env/$session" "file-history/$session" "debug/$session.txt" todos/"$session"-*.json "titles/$session"
# Its transcript goes last: what was interrupted can be repeated.
for file in projects/*/"$session".jsonl; do
  [ -f "$file" ] && [ ! -L "$file" ] || continue
  rm -rf "${file%.jsonl}" && rm -f "$file" || exit 1
done
