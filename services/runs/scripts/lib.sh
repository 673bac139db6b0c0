# What the scripts of a run share: when it is alive, and each record that a script writes. In a sandbox this file also
# has clock.sh and lock.sh in front.

# Sets `line` to the first line of a file, or to nothing. usage: first_line <file>
first_line () { line=; read -r line 2>/dev/null < "$1"; }

# Sets `line` to the pid of a run's runner, and tells whether that is still the runner's: a pid may be used again.
# busybox's grep would see no more than the first word of a command line. usage: is_runner_alive <state of the run> <run id>
is_runner_alive () {
  first_line "$1/pid"
  [ -n "$line" ] && tr '\0' '\n' 2>/dev/null < "/proc/$line/cmdline" | grep -qF "$2"
}

# Whether a run is going on: its end is not recorded, and its runner is alive, or it was prepared less than a minute ago
# and its runner is about to start. usage: is_active <state of the run> <run id>
is_active () {
  [ ! -e "$1/exit" ] || return 1
  is_runner_alive "$1" "$2" && return 0
  [ -z "$line" ] && [ -n "$(find "$1" -prune -mmin -1 2>/dev/null)" ]
}

# The beginning of a `resolved` record, up to its id: by this the filter finds it in the middle of a line of Claude's.
# usage: resolved_head <run id>
resolved_head () { printf '\036{"record":"resolved","run":"%s","id":"' "$1"; }

# In one write, as others may be writing to the same pipe.
# usage: resolved <run id> <request id> <allow or deny> <user, deadline, run_end or claude>
resolved () { printf '%s%s","decision":"%s","by":"%s"}\n' "$(resolved_head "$1")" "$2" "$3" "$4"; }

# The request comes on standard input. usage: asked <run id> <how long it waits for an answer in ms>
asked () {
  printf '\036{"record":"asked","run":"%s","at":%s,"timeoutMs":%s,"request":' "$1" "$(date +%s)" "$2"
  tr -d '\n'
  echo '}'
}

# Exit code and reason come from files that anything in the sandbox could have changed.
# usage: ended <run id> <exit code or nothing> <cancelled, timeout or nothing> <one more member>
ended () {
  code=$2 reason=$3
  case $code in '' | *[!0-9]* | ????*) code=null;; esac
  case $reason in cancelled | timeout) ;; *) reason=;; esac
  printf '\036{"record":"ended","run":"%s","exitCode":%s,"stop":"%s",%s}\n' "$1" "$code" "$reason" "$4"
}
