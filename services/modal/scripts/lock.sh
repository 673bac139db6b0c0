# A lock within one sandbox, held by an id. To be put in front of a script that defines `alive <id>`: whether the holder
# of that name is at work.
#
# The lock is a directory with the list of its holders: `head` is a link to one of them, `<id>.next` a link to the one
# that took over from it, and the last one holds the lock. A holder that has gone is not removed: the next one is added
# behind it. That is a single `ln`, which fails when somebody else was first, so a process that dies at any point leaves
# a lock that the next one can take.

# Sets `holder` to the last id of the list; empty when there is none. usage: last_holder <lock>
last_holder () {
  holder=$(readlink "$1/head") hops=0
  # `head` is moved on by every holder, so a list is short; the sandbox's owner could have made it a ring.
  while [ -L "$1/$holder.next" ] && [ $hops -lt 1000 ]; do
    holder=$(readlink "$1/$holder.next") hops=$((hops + 1))
  done
}

# Whether a holder is alive: `holder` is it then, and else the last of the list. Not only the last one counts, as that
# may have given up because an earlier one was alive after all.
# usage: is_held <lock> [<id that does not count>]
is_held () {
  holder=$(readlink "$1/head") hops=0
  while [ -n "$holder" ]; do
    [ "$holder" != "${2:-}" ] && alive "$holder" && return 0
    [ -L "$1/$holder.next" ] && [ $hops -lt 1000 ] || return 1
    holder=$(readlink "$1/$holder.next") hops=$((hops + 1))
  done
  return 1
}

# usage: acquire <lock> <id>; `alive <id>` has to be true already.
# Returns 0 when the lock is this id's, 1 when `holder` has it, 2 when it could not be written.
acquire () {
  stale=''
  [ -d "$1" ] || mkdir -p "$1" || return 2
  # Most commands here are builtins of the shell: a sync that finds nothing to do takes hardly longer than a few others.
  [ -L "$1/head" ] || { ln -sn "$2" "$1/head" 2>/dev/null && return 0; }
  is_held "$1" && return 1
  [ -n "$holder" ] || return 2
  stale=$holder
  if ! ln -sn "$2" "$1/$stale.next" 2>/dev/null; then
    last_holder "$1"
    [ "$holder" != "$stale" ] && return 1
    return 2
  fi
  # A holder may have come back, or have been replaced, between the look at it and the link. The link stays: it holds
  # nothing once this id is no longer alive, and a holder that started to work before it was made is found above.
  is_held "$1" "$2" && return 1
  [ "$holder" = "$2" ] || return 1
  # Saves those who come later the way along the list.
  ln -sn "$2" "$1/$2.head" && mv -f "$1/$2.head" "$1/head"
  return 0
}
