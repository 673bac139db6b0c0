# The lock of a sandbox's one sync; behind lock.sh. A holder keeps a file of its name fresh as long as it lives, so one
# whose service has gone loses the lock after a while.
# usage: sync-lock.sh <state directory> acquire <id>    (prints `acquired`)
#        sync-lock.sh <state directory> hold <id> <script> <argument>...
#          (acquires it, runs the script, then does as `release` and prints `released <id>`)
#        sync-lock.sh <state directory> keep <id>
#        sync-lock.sh <state directory> release <id>    (standard input: the report of the sync, one line or nothing)
#        sync-lock.sh <state directory> show
# Exits with 75 when the lock is another's.
umask 077
state=$1 action=$2 id=$3
lock=$state/sync-lock
# Seconds without a sign of life after which a holder counts as dead.
stale_after=40

# A time that lies ahead is no sign of life.
alive () {
  [ -e "$state/$1" ] || return 1
  age=$(($(date +%s) - $(stat -c %Y "$state/$1" 2>/dev/null || echo 0)))
  [ "$age" -lt $stale_after ] && [ "$age" -gt -$stale_after ]
}
owned () { last_holder "$lock"; [ "$holder" = "$id" ]; }

acquire_or_exit () {
  [ -d "$state" ] || mkdir -p "$state" || exit 1
  : > "$state/$id" || exit 1
  acquire "$lock" "$id"
  case $? in 0) ;; 1) rm -f "$state/$id"; exit 75;; *) exit 1;; esac
  echo acquired
}

release () {
  # A line that was cut off is no report; the lock is given back all the same.
  read -r report || report=
  owned || return 0
  [ -z "$report" ] || printf %s "$report" > "$state/last-sync"
  rm -f "$state/$id"
}

case $action in
  acquire) acquire_or_exit;;
  hold)
    acquire_or_exit
    script=$4
    shift 4
    sh -c "$script" sync-lock "$@" < /dev/null
    release
    echo "released $id";;
  keep)
    # First the sign of life, then the question: a successor adds its name first and looks for the sign of life then,
    # so at least one of the two finds the other.
    touch -c "$state/$id"
    owned || exit 75;;
  release) release;;
  show)
    last_holder "$lock"
    if [ -n "$holder" ] && alive "$holder"; then echo active; else echo idle; fi
    head -c 262144 "$state/last-sync" 2>/dev/null
    exit 0;;
esac
