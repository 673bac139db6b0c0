# What the scripts of a run share: when it is alive, how it is ended, and each record that a script writes. In a sandbox
# this file also has clock.sh, lock.sh and kill.sh in front.

# Where Claude is installed in images that have none, which need not be on their PATH.
PATH=$PATH:/opt/claude/bin:${HOME:-/root}/.local/bin

# Sets `line` to the first line of a file, or to nothing: anything may have made it a FIFO. usage: first_line <file>
first_line () { line=; if [ -f "$1" ]; then read -r line 2>/dev/null < "$1"; fi; }

# Sets `line` to the pid of a run's runner, and tells whether that is still the runner's: a pid may be used again.
# busybox's grep would see no more than the first word of a command line. usage: is_runner_alive <state of the run> <run id>
is_runner_alive () {
  first_line "$1/pid"
  case $line in '' | *[!0-9]*) return 1;; esac
  tr '\0' '\n' 2>/dev/null < "/proc/$line/cmdline" | grep -qF "$2"
}

# Whether a run is going on: its runner is alive, or it was prepared less than a minute ago and its runner is about to
# start. usage: is_active <state of the run> <run id>
is_active () {
  is_runner_alive "$1" "$2" && return 0
  [ ! -e "$1/exit" ] && [ -z "$line" ] && [ -n "$(find "$1" -prune -mmin -1 2>/dev/null)" ]
}

# Variables of the environment that mark all processes of a run: those of Claude and what it has started; the runner's.
claude_marker=MODAL_SANDBOX_EXEC_ID runner_marker=MODAL_SANDBOX_RUN_ID

# The limits on the size of files that mark what a run has started, in blocks of 512 bytes: larger than any file.
# shellcheck disable=SC2034 # prepare.sh reads them
lowest_limit=8796093022208 highest_limit=8800387989503

# Sets `limit` to that of a run, which is hardly ever that of another. usage: limit_of <run id>
limit_of () {
  limit=$(printf %s "$1" | md5sum | head -c 8)
  limit=$((lowest_limit + 0x${limit:-0}))
}

# Ends Claude and what it has started; arguments follow as for `end_processes`. usage: end_claude <state of the run> <run id> ...
end_claude () {
  limit_of "$2"
  first_line "$1/since"; case $line in *[!0-9]*) line=;; esac
  # shellcheck disable=SC2034 # kill.sh reads it
  lowest=$limit highest=$limit since=$line mark=$claude_marker=$2
  shift 2
  end_processes "$mark" "$@"
  set -- $?
  # shellcheck disable=SC2034
  lowest='' highest='' since=''
  return "$1"
}

# Ends Claude and what it has started, and notes why. Prints how many are left, and returns 1, when some are.
# usage: stop_run <cancelled, timeout, or result: it hangs after its result> <state of the run> <log> <run id>
stop_run () {
  # Once its result is in the log Claude has done its work: the run was not cut short, only what lingers is ended.
  why=$1
  if [ ! -s "$2/stop" ] && [ -d "$2" ]; then
    if has_result "$3" "$2"; then why=result; fi
    echo "$why" 1<> "$2/stop"
  fi
  mkdir "$2/stopping" 2>/dev/null
  # While a run is starting there is nothing to end yet: Claude is about to come, or the reason keeps it from coming.
  waited=0
  while [ -d "$2" ] && [ ! -e "$2/claude-exit" ] && [ ! -e "$2/exit" ] && [ $waited -lt 30 ]; do
    grep -qsFe "$claude_marker=$4" /proc/[0-9]*/environ && break
    first_line "$2/pid"
    [ -z "$line" ] || [ -e "/proc/$line" ] || break
    sleep 0.1 2>/dev/null || sleep 1
    waited=$((waited + 1))
  done
  # Claude first gets the chance to end its tools and save the conversation; what it leaves behind gets less time.
  # shellcheck disable=SC2034 # kill.sh reads it
  ended=$2/claude-exit
  end_claude "$2" "$4" INT 15 TERM 3 KILL 30
  left=$?
  # shellcheck disable=SC2034
  ended=''
  # A terminal whose Claude was stopped (SIGSTOP) has stopped itself.
  first_line "$2/terminal-pid"; case $line in '' | *[!0-9]*) ;; *) kill -CONT "$line" 2>/dev/null;; esac
  rmdir "$2/stopping" 2>/dev/null
  return $left
}

# Ends all that there is of a run whose runner is dead or must go, and sees to it that its log has an end. Prints how
# many processes are left, and returns 1, when some are.
# usage: settle_run <state of the run> <directory of the run> <run id> <what was lost: runner or sandbox>
settle_run () {
  end_claude "$1" "$3" TERM 10 KILL 20 || return 1
  end_processes "$runner_marker=$3" KILL 20 || return 1
  [ -f "$2/log" ] && [ ! -L "$2/log" ] || return 0
  last=$(tail -c 1000 "$2/log" | tail -n 1 | tr -d '\0')
  case $last in
    "$(printf '\036{"record":"ended","run":"%s",' "$3")"*) ;;
    *)
      # Only one may write the end: the one that makes this directory.
      mkdir "$2/ended" 2>/dev/null && {
        first_line "$1/stop"; stop=$line
        [ ! -d "$1/permissions" ] || (close_permissions "$1" "$3" run_end)
        ended "$3" '' "$stop" "\"lost\":\"$4\""
      } >> "$2/log";;
  esac
  [ ! -d "$1" ] || [ -e "$1/exit" ] || echo 255 > "$1/exit"
  return 0
}

# Ends a run from outside, whatever of it still works, and sees to it that its log has an end. Prints how many processes
# are left, and returns 1, when some are.
# usage: end_run <state of the run> <directory of the run> <run id> <cancelled or timeout>
end_run () {
  stop_run "$4" "$1" "$2/log" "$3" || return 1
  # The runner records the end by itself, unless it was killed or stands still.
  waited=0
  while is_runner_alive "$1" "$3" && [ $waited -lt 30 ]; do sleep 0.1 2>/dev/null || sleep 1; waited=$((waited + 1)); done
  settle_run "$1" "$2" "$3" runner
}

# Sets `alive` to the ids of runs that have processes, with spaces around them.
find_alive () {
  markers="$claude_marker=run_
$runner_marker=run_"
  alive=' '
  for file in $(marked /proc/[0-9]*/environ 2>/dev/null); do
    alive="$alive$(tr '\0' '\n' 2>/dev/null < "$file" | grep -F "$markers" | cut -d= -f2 | tr '\n' ' ')"
  done
}

# Whether Claude has given its result and does nothing more: the result is its last word, of its own conversation, and
# no tool is alive, each of which has a session of its own. usage: has_result <log> <state of the run>
has_result () {
  [ -f "$1" ] && [ ! -L "$1" ] || return 1
  said=$(tail -n 3 "$1" | grep -a '{' | tail -n 1 | grep -a '"type":"result"' |
    grep -avE '"type":"(assistant|user|system|stream_event|control_request)"') || return 1
  named=$(grep -aom1 '"session_id":"[^"]*"' "$1" | head -n 1)
  # With `/clear` the CLI goes on in another conversation, which its next `init` names.
  case $(grep -am1 '"type":"conversation_reset"' "$1") in
    *"$named"*) named=$(grep -a '"subtype":"init"' "$1" | tail -n 1 | grep -ao '"session_id":"[^"]*"' | head -n 1);;
  esac
  case $said in *"$named"*) ;; *) return 1;; esac
  first_line "$2/terminal-pid"
  parent=${line:-none} child=none its_session=
  for file in /proc/[0-9]*/stat; do
    read_stat "$file"
    # shellcheck disable=SC2086,SC2154 # it is to be split; kill.sh sets it
    set -- $stat
    if [ "${2:-}" = "$parent" ]; then child=${file#/proc/} child=${child%/*} its_session=$4; break; fi
  done
  for file in /proc/[0-9]*/stat; do
    read_stat "$file"
    # shellcheck disable=SC2086,SC2154 # it is to be split; kill.sh sets it
    set -- $stat
    [ "${2:-}" = "$child" ] && [ "$4" != "$its_session" ] || continue
    pid=${file#/proc/}
    is_dead "${pid%/*}" "$1" "${18}" || return 1
  done
  return 0
}

# The beginning of a `resolved` record, up to its id: by this the filter finds it in the middle of a line of Claude's.
# usage: resolved_head <run id>
resolved_head () { printf '\036{"record":"resolved","run":"%s","id":"' "$1"; }

# In one write, as others may be writing to the same pipe.
# usage: resolved <run id> <request id> <allow or deny> <user, deadline, run_end or claude>
resolved () { printf '%s%s","decision":"%s","by":"%s"}\n' "$(resolved_head "$1")" "$2" "$3" "$4"; }

# What Claude is told as the answer to a request; the CLI's response comes on standard input. usage: response <request id>
response () {
  printf '{"type":"control_response","response":{"subtype":"success","request_id":"%s","response":' "$1"
  tr -d '\n'
  echo '}}'
}

# The answer to a request of a kind that nobody here can answer. usage: refusal <request id>
refusal () {
  printf '{"type":"control_response","response":{"subtype":"error","request_id":"%s","error":"not supported"}}\n' "$1"
}

# Denies requests that have no answer, and prints the records of these denials. At the end of a run also the records of
# answers that are not in the log yet.
# usage: close_permissions <state of the run> <run id> <by whom: run_end or claude> [<request id>]
# Without an id: all of the run's requests.
# shellcheck disable=SC2015 # nothing between && and || has effects
close_permissions () {
  for request in "$1"/permissions/${4:-*}; do
    [ -e "$request/deadline" ] && [ ! -e "$request/logged" ] || continue
    ln -sn "deny $3" "$request/resolved" 2>/dev/null || [ "$3" = run_end ] || continue
    answer=$(readlink "$request/resolved")
    resolved "$2" "${request##*/}" "${answer% *}" "${answer#* }"
    : > "$request/logged"
  done
}

# The request comes on standard input. usage: asked <run id> <how long it waits for an answer in ms>
asked () {
  printf '\036{"record":"asked","run":"%s","at":%s,"timeoutMs":%s,"request":' "$1" "$(date +%s)" "$2"
  tr -d '\n'
  echo '}'
}

# usage: cut_record <run id>
cut_record () { printf '\036{"record":"cut","run":"%s"}\n' "$1"; }

# Exit code and reason come from files that anything in the sandbox could have changed.
# usage: ended <run id> <exit code or nothing> <cancelled, timeout, result or nothing> <more members>
ended () {
  code=$2 reason=$3 more=$4
  case $code in '' | *[!0-9]* | ????*) code=null;; esac
  case $reason in
    cancelled | timeout) ;;
    result) reason= more="\"lingered\":true,$more";;
    *) reason=;;
  esac
  printf '\036{"record":"ended","run":"%s","exitCode":%s,"stop":"%s",%s}\n' "$1" "$code" "$reason" "$more"
}
