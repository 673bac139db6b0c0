# Runs Claude on a terminal of its own, keeps all it says in the run's log, and sees to its end: timeout, nobody there,
# a hang after the result. No service is needed for any of it.
# usage: runner.sh <state of the run> <directory of the run> <lock> <variable that marks Claude's processes> <run id>
#   <session id, or - for none> <timeout in ms> <grace without readers in ms, or - for any>
#   <how long Claude waits for permission in ms, or - if it needs none> <command line of Claude>
# The key moves from the environment to a descriptor that only Claude reads, and this shell starts over without it:
# neither Claude's tools nor /proc/<this shell>/environ have it then.
if [ -n "${ANTHROPIC_API_KEY:-}" ]; then
  exec 3<<KEY
$ANTHROPIC_API_KEY
KEY
  exec env -u ANTHROPIC_API_KEY CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR=3 sh "$0" "$@"
fi

state=$1 directory=$2 lock=$3 marker=$4 run=$5 session=$6 timeout=$7 grace=$8 patience=$9 claude=${10}
log=$directory/log
umask 077
# A signal to the whole run must not end this shell before it has recorded the end of Claude.
trap : INT TERM HUP
echo $$ > "$state/pid"
# Opened once: whatever somebody puts in its place later can not hold up this shell.
exec 6>> "$log"

# Centiseconds since the sandbox's start: no clock that somebody may set, and no process for each look.
look_at_clock () { read -r up _ < /proc/uptime; centis=${up#*.}; now=$((${up%.*} * 100 + 1$centis - 100)); }
latest () { latest=; read -r latest 2>/dev/null < "$state/$1"; }
stop () { sh "$state/stop.sh" "$1" "$state" "$directory" "$marker=$run"; }

# Whoever reads the copy has gone or stalls: from now on there is only the log, so that Claude is not held up. While the
# terminal stands still, `tee` has written all it had to the log, or is held up in the copy of what is in the log.
cut_copy () {
  : > "$state/cut"
  kill -STOP "$(cat "$state/terminal")"
  sleep 0.2 2>/dev/null || sleep 1
  kill -KILL "$(cat "$state/copier")"
  kill -CONT "$(cat "$state/terminal")"
}

# Who is not answered in time is denied. In the background, as whoever reads Claude's input may stall.
deny_overdue () {
  for asked in "$state"/asked/*; do
    until=
    read -r until 2>/dev/null < "$asked/until"
    [ "$now" -ge "${until:-$((now + 1))}" ] && [ ! -L "$asked/resolved" ] || continue
    sh "$state/answer.sh" "$state" "$run" "${asked##*/}" deny deadline <<ANSWER &
{"behavior":"deny","message":"Nobody has answered the request for permission in time."}
ANSWER
  done
}

# Every second. A reader's replica changes `lease`, the service that reads this exec `link`, each every two seconds.
watch () {
  readers= read_at=$started service= served_at=$started copied=yes quiet_at=$started judged=no
  while sleep 1; do
    look_at_clock
    latest lease; [ "$latest" = "$readers" ] || { readers=$latest read_at=$now; }
    latest link; [ "$latest" = "$service" ] || { service=$latest served_at=$now; }
    if [ "$log" -nt "$state/quiet" ]; then : > "$state/quiet"; quiet_at=$now judged=no; fi

    [ $((now - started)) -ge $((timeout / 10)) ] && stop timeout
    [ "$grace" != - ] && [ $((now - read_at)) -ge $((grace / 10 + 300)) ] && stop cancelled
    [ "$patience" = - ] || deny_overdue
    [ $copied = yes ] && [ $((now - served_at)) -ge 600 ] && copied=no && cut_copy
    # Claude sometimes does not exit after its result.
    if [ $judged = no ] && [ $((now - quiet_at)) -ge 1000 ]; then
      judged=yes
      sh "$state/judge.sh" "$log" && stop hung
    fi
  done
}

if [ "$session" != - ]; then
  known=no
  for file in "$CLAUDE_CONFIG_DIR"/projects/*/"$session".jsonl; do [ -e "$file" ] && known=yes; done
  if [ $known = yes ]; then claude="$claude --resume $session"; else claude="$claude --session-id $session"; fi
fi

look_at_clock
started=$now holder=
exec 5<&0
while read -r beat; do
  echo "$beat" > "$state/link"
  case $beat in r*) echo "$beat" > "$state/lease";; esac
done <&5 > /dev/null 2>&1 3<&- &
listener=$!
watch < /dev/null > /dev/null 2>&1 3<&- 5<&- &
watcher=$!

# What goes out comes from the log's first byte on, so a position in this exec's output is one in the log. Bytes pass
# as Claude writes them (no echo, no CRLF), into the log first.
cat "$log"
if [ "$patience" = - ]; then input=$state/prompt; else input=$state/in; fi
terminal="umask 022; stty raw -echo 2>/dev/null; [ ! -s '$state/stop' ] || exit 130; exec env $marker=$run $claude < '$input'"
talk () {
  sh -c 'echo $$ > "$1/terminal"; exec script -qefc "$2" /dev/null' terminal "$state" "$terminal" < /dev/null 2>&1 5<&- 6>&-
  echo $? > "$state/code"
}
copy () {
  sh -c 'echo $$ > "$1/copier"; exec tee -a /dev/fd/4 4>&1 >&6' copier "$state"
  cat >&6
}
if [ "$patience" = - ]; then
  talk | copy 3<&- 5<&-
else
  mkfifo "$state/in" "$state/said"
  mkdir "$state/asked"
  # Claude's input stays open for answers until its result is there.
  { cat "$state/prompt"; exec sleep 2147483; } 1<>"$state/in" < /dev/null 2>/dev/null 3<&- 5<&- 6>&- &
  holder=$!
  echo $holder > "$state/holder"
  # mawk would wait for more than a line; told not to, it repeats old ones when the last has no end.
  unbuffered=$(awk -W interactive 'BEGIN { print "-W interactive" }' 2>/dev/null < /dev/null)
  # One pipeline: a job in the background would ignore INT, and so would Claude.
  { talk; echo; } > "$state/said" |
    LC_ALL=C awk $unbuffered -v "state=$state" -v "run=$run" -v "patience=$patience" -f "$state/ask.awk" < "$state/said" 2>/dev/null 3<&- 5<&- 6>&- |
    copy 3<&- 5<&-
fi

# Who stops the run knows best what belongs to it.
waited=0
while [ -d "$state/stopping" ] && [ $waited -lt 80 ]; do sleep 0.1 2>/dev/null || sleep 1; waited=$((waited + 1)); done
kill $watcher $listener $holder 2>/dev/null
look_at_clock
latest code; code=$latest
latest stop; reason=$latest
end="{\"record\":\"ended\",\"run\":\"$run\",\"exitCode\":${code:-null},\"stop\":\"$reason\",\"durationMs\":$(((now - started) * 10))}"
last=$(sh "$state/settle.sh" "$state" "$run"; printf '\036%s' "$end")
# Whoever makes this directory, and nobody else, may write the end.
mkdir "$directory/ended" 2>/dev/null && printf '%s\n' "$last" >&6
# In this order: while no end is recorded nobody else takes the place, so the lock is still this run's.
rm -f "$state/prompt" "$lock"
echo "${code:-255}" > "$state/exit"
[ -e "$state/cut" ] || printf '%s\n' "$last"
exit "${code:-255}"
