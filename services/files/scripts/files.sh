# Works on one path of a sandbox, inside of its roots. Needs nothing that busybox does not have.
# usage: files.sh <action> <nonce> <number> <expected> <root> <root> <base: one of them> <component>...
# Every component is entered and looked at here: only the kernel knows where a link or `..` leads. And because a name may
# lead elsewhere a moment later, the same is asked about every file once it is open; nothing is read or written before.
# Exit codes are explained in script.ts; what went wrong stands on standard error.
action=$1 nonce=$2 number=$3 expected=$4 root1=$5 root2=$6 base=$7
shift 7

real1=$(cd -P -- "$root1" 2>/dev/null && pwd -P)
real2=$(cd -P -- "$root2" 2>/dev/null && pwd -P)

# Leaves the path as clients know it in $shown; roots may be links themselves.
within () {
  case ${real1:+${1%/}/} in "${real1%/}"/*) shown=${root1%/}${1#"${real1%/}"}; return 0; esac
  case ${real2:+${1%/}/} in "${real2%/}"/*) shown=${root2%/}${1#"${real2%/}"}; return 0; esac
  return 1
}

# Asks the kernel, as bash's `pwd -P` repeats what bash made of the path, which may have been another directory. Older
# releases of gVisor have no such link.
inside () {
  here=$(readlink /proc/self/cwd || pwd -P; echo x)
  within "${here%??}" || exit 43
}

# Leaves the path of the file that is open as descriptor $1 in $at.
opened () {
  at=$(readlink "/proc/self/fd/$1"; echo x)
  at=${at%??}
  within "$at" || return 1
  [ -f "/proc/self/fd/$1" ] || exit 48
}

enter () {
  [ -e "./$1" ] || [ -L "./$1" ] || { [ "$action" = write ] && mkdir -p -- "./$1"; } || exit 44
  [ -d "./$1" ] || exit 45
  cd -P -- "./$1" || exit 46
  inside
}

# A link's own file may lie in another directory: that one is entered.
follow () {
  [ -L "$file" ] || return 0
  leads=$(readlink -f -- "$file"; echo x)
  leads=${leads%??}
  [ -n "$leads" ] || exit 44
  cd -P -- "${leads%/*}/" || exit 44
  inside
  file=./${leads##*/}
  [ ! -L "$file" ] || exit 44
}

# A nonce in front of every record: a file's name may hold anything but that.
entries () { find . "$@" -exec stat -c "${nonce}E%f %s %Y %n" {} +; }

links () {
  find . -mindepth 1 -maxdepth 1 -type l -exec sh -c \
    'n=$1; shift; for f do printf "%sL%s\n%sT%s\n" "$n" "$f" "$n" "$(readlink -- "$f")"; done' sh "$nonce" {} +
}

cd -P -- "$base" || exit 44
inside
while [ $# -gt 1 ]; do enter "$1"; shift; done

case $action in list|changed)
  [ $# -eq 0 ] || enter "$1"
  [ -r . ] || { echo 'Permission denied' >&2; exit 46; }
  {
    printf '%sP%s\n' "$nonce" "$shown"
    if [ "$action" = list ]; then
      links
      entries -mindepth 1 -maxdepth 1
    else
      minutes=$((($(date +%s) - number) / 60 + 2))
      entries \( -name .git -o -name node_modules -o -name .claude-sandbox \) -prune -o -type f -mmin -"$minutes"
    fi
  } 2>/dev/null | head -c "$((1024 * 1024))"
  exit 0
esac

file=./$1
[ "$action" = delete ] || follow
[ -L "$file" ] || [ ! -d "$file" ] || exit 47

# Leaves the SHA-256 of standard input in $digest.
measure () {
  digest=$(sha256sum)
  digest=${digest%% *}
}

# The file is standard input. To hash it, it is opened once more: the content is still to be read.
serve () {
  opened 0 || exit 43
  about=$(stat -L -c '%s %Y' /proc/self/fd/0) || exit 46
  [ "${about%% *}" -gt "$number" ] || measure < /proc/self/fd/0 || exit 46
  printf '%s\n' "$about${digest:+ $digest}"
  exec cat
}

# Whether the file is still the one that is to be replaced.
unchanged () {
  [ -n "$expected" ] || return 0
  [ -f "$file" ] || return 1
  measure < "$file"
  [ "$digest" = "$expected" ]
}

# The file, which has no name yet that clients know, is descriptor 4.
store () {
  opened 4 || exit 43
  cat >&4 || exit 46
  [ "$(stat -L -c %s /proc/self/fd/4)" -eq "$number" ] || { echo 'The upload is not complete' >&2; exit 46; }
  unchanged || exit 49
  [ -L "$file" ] || [ ! -f "$file" ] || chmod "$(stat -c %a "$file")" /proc/self/fd/4
  # A link to a directory is replaced, like any other; without -T, mv would put the file into that directory.
  case $(mv --help 2>&1) in *-T*|*nT]*) set -- -T; esac
  mv -f "$@" "$part" "$file" || exit 46
  opened 4 || { rm -f -- "$at"; exit 43; }
  printf '%sP%s\n%sE%s %s\n' "$nonce" "$directory" "$nonce" "$(stat -L -c '%f %s %Y' /proc/self/fd/4)" "$file"
}

case $action in
  read)
    [ -e "$file" ] || exit 44
    [ -f "$file" ] || exit 48
    [ -r "$file" ] || { echo 'Permission denied' >&2; exit 46; }
    serve < "$file" || exit 44;;
  write)
    [ ! -e "$file" ] || [ -f "$file" ] || exit 48
    part=./.upload-$nonce directory=$shown
    trap 'rm -f "$part"' EXIT
    trap 'exit 46' HUP INT TERM
    # Never opens what is there already.
    set -C
    store 4> "$part" || exit 46;;
  delete)
    [ -e "$file" ] || [ -L "$file" ] || exit 44
    rm -f "$file" || exit 46;;
esac
