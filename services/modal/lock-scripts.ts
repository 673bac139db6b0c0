export const exitTaken = 75
/** Seconds after which a holder that says nothing counts as dead. */
const deadAfter = 40
/** Whoever took the place is listened to for so many seconds: a command that waits for ever keeps a sandbox awake. */
const patience = 5
const longestReport = 256 * 1024

/** Whether the holder's file was touched lately; a time that lies ahead is no sign of life. */
const alive = `
alive () {
  [ -n "$holder" ] || return 1
  age=$(( $(date +%s) - $(stat -c %Y "$1/$holder" 2>/dev/null || echo 0) ))
  [ "$age" -lt ${deadAfter} ] && [ "$age" -gt -${deadAfter} ]
}`

/** Waits for a whole line, which is a report or empty, and gives the place back if it is still ours. */
const leave = `
leave () {
  read -r report || return
  [ "$(readlink "$1/sync")" = "$2" ] || return 0
  [ -z "$report" ] || printf %s "$report" > "$1/last-sync"
  rm -f "$1/sync" "$1/$2"
}`

/**
 * The place is a link to its holder's file, made in one step and with the holder's name on it; the file is touched as
 * long as the holder lives. Whoever makes the link that is named after a dead holder is its heir and takes its place.
 *
 * Says `taken`, does the first work of the sync, and waits a while to be told to leave: each command that need not be
 * started saves a sync that finds nothing to do a good part of its time.
 * @param work a script, for the arguments behind the first two.
 */
export const takeScript = (work: string) => `${alive}${leave}
exec 2>&1
umask 077
state=$1 id=$2 lock=$1/sync
{ [ -d "$state" ] || mkdir -p "$state"; } && : > "$state/$id" || exit 1
refused () { rm -f "$state/$id"; exit ${exitTaken}; }
inherit () { ln -sn "$id" "$state/left-$holder" 2>/dev/null; }
take () {
  ln -sn "$id" "$lock" 2>/dev/null && return
  dead=$(readlink "$lock")
  # There is none while another one takes over.
  [ -n "$dead" ] || refused
  holder=$dead
  alive "$state" && refused
  inherit || {
    # It has an heir, who lives unless it was killed before the place was its own.
    holder=$(readlink "$state/left-$dead")
    alive "$state" && refused
    inherit || refused
  }
  # Who had it meanwhile and has left looks dead as well, and the place may be another's.
  [ "$(readlink "$lock")" = "$dead" ] || refused
  rm -f "$lock"
  ln -sn "$id" "$lock" 2>/dev/null || refused
}
take
echo taken
shift 2
(${work}
) < /dev/null
exec 3<&0
sleep ${patience} < /dev/null > /dev/null 2>&1 & clock=$!
{ leave "$state" "$id" && echo left; kill $clock; } <&3 &
wait $clock
kill $! 2>/dev/null`

export const leaveScript = `${leave}
umask 077
leave "$@"`

export const beatScript = `[ "$(readlink "$1/sync")" = "$2" ] && touch -c "$1/$2" || exit ${exitTaken}`

export const stateScript = `${alive}
holder=$(readlink "$1/sync")
alive "$1" && echo active || echo idle
head -c ${longestReport} "$1/last-sync" 2>/dev/null`
