# Works on one path of a sandbox, inside of its roots. Needs nothing that busybox does not have.
# usage: files.sh <action> <nonce> <number> <root> <root> <base: one of them> <component>...
# Every component is entered and looked at here: only the kernel knows where a link or `..` leads.
# Exit codes are explained in script.ts; what went wrong stands on standard error.
action=$1 nonce=$2 number=$3 root1=$4 root2=$5 base=$6
shift 6

# Leaves the path as clients know it in $shown; roots may be links themselves.
inside () {
  here=$(pwd -P; echo x)
  here=${here%??}
  for root in "$root1" "$root2"; do
    real=$(cd -P -- "$root" 2>/dev/null && pwd -P) || continue
    case ${here%/}/ in "${real%/}"/*) shown=${root%/}${here#"${real%/}"}; return;; esac
  done
  exit 43
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

case $action in
  read)
    [ -e "$file" ] || exit 44
    [ -f "$file" ] || exit 48
    [ -r "$file" ] || { echo 'Permission denied' >&2; exit 46; }
    stat -c '%s %Y' "$file" || exit 46
    exec cat "$file";;
  write)
    [ ! -e "$file" ] || [ -f "$file" ] || exit 48
    part=./.upload-$nonce
    trap 'rm -f "$part"' EXIT
    trap 'exit 46' HUP INT TERM
    cat > "$part" || exit 46
    [ $(($(wc -c < "$part"))) -eq "$number" ] || { echo 'The upload is not complete' >&2; exit 46; }
    [ ! -f "$file" ] || chmod "$(stat -c %a "$file")" "$part"
    mv -f "$part" "$file" || exit 46
    printf '%sP%s\n' "$nonce" "$shown"
    stat -c "${nonce}E%f %s %Y %n" "$file";;
  delete)
    [ -e "$file" ] || [ -L "$file" ] || exit 44
    rm -f "$file" || exit 46;;
esac
