# Runs Claude on a terminal of its own, keeps everything it says in the run's log, and enforces its end: at the timeout,
# without readers, when it hangs after its result. None of this needs the service, which ends what this fails to end.
# usage: runner.sh <state of the run> <directory of the run> <lock> <variable that marks Claude's processes> <run id>
#   <session id, or - for none> <timeout in ms> <time without readers in ms, or - for any>
#   <how long Claude waits for an answer in ms, or - if nobody answers> <command line of Claude>
# Exits as Claude does, or with 75 and without output when another run has taken over the lock.
# shellcheck disable=SC1091,SC2015,SC2154 # lib.sh lies in the sandbox, and sets holder, limit, line and now; no effects between && and ||

state=$1 directory=$2 lock=$3 marker=$4 run=$5 session=$6 timeout=$7 grace=$8 permission_timeout=$9 claude=${10}
log=$directory/log
. "$state/lib.sh"
umask 077
# A signal to the whole run must not end this shell before it has recorded the end of Claude.
trap : INT TERM HUP
# A run without a readable pid looks dead after a minute, whatever it does.
if ! echo $$ > "$state/pid" || [ ! -s "$state/pid" ]; then exit 1; fi
# Between preparation and here more than a minute may have passed, and another run may have found this one dead.
last_holder "$lock"
if [ "$holder" != "$run" ]; then
  rm -rf "${state:?}" "${directory:?}"
  exit 75
fi
# Opened once: whatever takes the file's place later cannot hold up this shell.
exec 6>> "$log"

stop () { stop_run "$1" "$state" "$log" "$run"; }

# In the background, as reading the other ends of FIFOs may take its time.
deny_overdue () {
  for request in "$state"/permissions/*; do
    first_line "$request/deadline"
    [ "$now" -ge "${line:-$((now + 1))}" ] && [ ! -L "$request/resolved" ] || continue
    sh "$state/answer-permission.sh" "$state" "$run" "${request##*/}" deny deadline <<ANSWER &
{"behavior":"deny","message":"Nobody has answered in time. Do not wait for an answer: go on without it as far as you can."}
ANSWER
  done
}

# Looks every second. The replica of a reader changes `reader-beat`, and the service that reads this process's output
# changes `service-beat`, each every two seconds.
watch () {
  readers='' read_at=$started service='' served_at=$started copied=yes quiet_at=$started result_checked=no
  while sleep 1; do
    clock
    first_line "$state/reader-beat"; [ "$line" = "$readers" ] || { readers=$line read_at=$now; }
    first_line "$state/service-beat"; [ "$line" = "$service" ] || { service=$line served_at=$now; }
    # shellcheck disable=SC3013 # dash and busybox have it
    if [ "$log" -nt "$state/quiet-since" ]; then : > "$state/quiet-since"; quiet_at=$now result_checked=no; fi

    [ $((now - started)) -ge $((timeout / 10)) ] && stop timeout
    [ "$grace" != - ] && [ $((now - read_at)) -ge $((grace / 10 + 300)) ] && stop cancelled
    [ "$permission_timeout" = - ] || deny_overdue
    # The reader of the copy has gone, or it stalls: from now on there is only the log, so that Claude is not held up.
    [ $copied = yes ] && [ $((now - served_at)) -ge 600 ] && copied=no && kill -KILL "$(cat "$state/copier-pid")"
    # Claude sometimes does not exit after its result.
    if [ $result_checked = no ] && [ $((now - quiet_at)) -ge 1000 ]; then
      result_checked=yes
      has_result "$log" "$state" && stop result
    fi
  done
}

if [ "$session" != - ]; then
  option=--session-id
  for file in "$CLAUDE_CONFIG_DIR"/projects/*/"$session".jsonl; do [ -e "$file" ] && option=--resume; done
  claude="$claude $option $session"
fi

clock
started=$now input_holder=
exec 5<&0
while read -r beat; do
  echo "$beat" > "$state/service-beat"
  case $beat in r*) echo "$beat" > "$state/reader-beat";; esac
done <&5 > /dev/null 2>&1 3<&- &
listener=$!
watch < /dev/null > /dev/null 2>&1 3<&- 5<&- &
watcher=$!

# Output begins with the log's first byte, so a position in it is one in the log. Bytes pass as Claude writes them (no
# echo, no CRLF), into the log first.
cat "$log"
if [ "$permission_timeout" = - ]; then input=$state/prompt; else input=$state/input; fi
limit_of "$run"
# `script` starts the command with the shell that SHELL names, which an image may not have: Claude gets that name back.
terminal="umask 022; stty raw -echo 2>/dev/null; [ ! -s '$state/stop' ] || exit 130
  if [ \"\${IMAGE_SHELL+set}\" ]; then SHELL=\$IMAGE_SHELL; export SHELL; else unset SHELL; fi
  exec env -u IMAGE_SHELL -u $runner_marker $marker=$run $claude < '$input'"
talk () {
  (
    if [ "${SHELL+set}" ]; then IMAGE_SHELL=$SHELL; export IMAGE_SHELL; fi
    SHELL=/bin/sh; export SHELL
    ulimit -f "$limit" 2>/dev/null
    exec sh -c 'echo $$ > "$1/terminal-pid"; exec script -qefc "$2" /dev/null' terminal "$state" "$terminal" \
      < /dev/null 2>&1 5<&- 6>&-
  )
  echo $? > "$state/claude-exit"
}
# The reader of this process's output learns that from here on there is only the log.
tell_cut () {
  [ ! -e "$state/claude-exit" ] || return
  : > "$state/output-cut"
  cut_record "$run"
}
# Output is never opened again, as it may be a socket: a FIFO connects `tee`, which writes the log first, with `cat`.
# Where there can be none, a pipe does, into which `tee` writes first.
copy () {
  if mkfifo "$state/copy" 2>/dev/null; then
    { sh -c 'echo $$ > "$1/copier-pid"; exec cat "$1/copy"' copier "$state"; tell_cut; } 6>&- &
    copier=$!
    (trap '' PIPE; exec tee -a "$state/copy" >&6)
    # When `tee` was killed the log goes on.
    cat >&6
    wait $copier
  else
    { (trap '' PIPE; exec tee -a "$log"); exec >&-; cat >&6; } |
      { sh -c 'echo $$ > "$1/copier-pid"; exec cat' copier "$state"; tell_cut; } 6>&-
  fi
}
# All that Claude reads: the prompt, then answers. There is no other writer, as an answer may be longer than what a pipe
# keeps together; those who have one say so in one line.
feed () {
  cat "$state/prompt"
  while read -r what id; do
    case $what in
      answer) cat "$state/permissions/$id/answer";;
      refuse) refusal "$id";;
    esac
  done
}
if [ "$permission_timeout" = - ]; then
  talk | copy 3<&- 5<&-
else
  mkfifo "$state/input" "$state/output" "$state/answers"
  mkdir "$state/permissions"
  # Claude's input stays open for answers until its result is there.
  feed <>"$state/answers" > "$state/input" 2>/dev/null 3<&- 5<&- 6>&- &
  input_holder=$!
  echo $input_holder > "$state/input-holder"
  # mawk would wait for more than a line; told not to, it repeats old ones when the last has no end.
  unbuffered=$(awk -W interactive 'BEGIN { print "-W interactive" }' 2>/dev/null < /dev/null)
  # One pipeline: a job in the background would ignore INT, and so would Claude.
  # shellcheck disable=SC2086,SC2094,SC2260 # two words, or none; `talk` writes into the pipe that awk reads from
  { talk; echo; } > "$state/output" |
    LC_ALL=C awk $unbuffered -v "state=$state" -v "run=$run" -v "timeout_ms=$permission_timeout" \
      -v "resolved_head=$(resolved_head "$run")" -f "$state/permission-filter.awk" \
      < "$state/output" 2>/dev/null 3<&- 5<&- 6>&- |
    copy 3<&- 5<&-
fi

# A process that is stopping the run knows best what belongs to it.
waited=0
while [ -d "$state/stopping" ] && [ $waited -lt 80 ]; do sleep 0.1 2>/dev/null || sleep 1; waited=$((waited + 1)); done
# shellcheck disable=SC2086 # there need not be an input holder
kill $watcher $listener $input_holder 2>/dev/null
# Claude may have been killed, or have left daemons: nothing of a run outlives its end.
end_claude "$state" "$run" TERM 10 KILL 20 > /dev/null 2>&1 < /dev/null
clock
first_line "$state/claude-exit"; exit_code=$line
first_line "$state/stop"; reason=$line
records=$(close_permissions "$state" "$run" run_end)
[ -z "$records" ] || printf '%s\n' "$records" >&6
# By this the reader of the output knows whether it has everything that is in the log.
at=null
if [ -f "$log" ] && [ ! -L "$log" ]; then at=$(($(wc -c < "$log"))); fi
end=$(ended "$run" "$exit_code" "$reason" "\"at\":$at,\"durationMs\":$(((now - started) * 10))")
mkdir "$directory/ended" 2>/dev/null
printf '%s\n' "$end" >&6
rm -f "$state/prompt"
# From here on the lock is another's to take.
echo "${exit_code:-255}" > "$state/exit"
if [ ! -e "$state/output-cut" ]; then [ -z "$records" ] || printf '%s\n' "$records"; printf '%s\n' "$end"; fi
exit "${exit_code:-255}"
