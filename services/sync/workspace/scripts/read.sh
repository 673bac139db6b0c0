# Read from standard input, followed by lines of `batch 'name' 'name'...`. For each of them it prints the time, records,
# an archive of the files, and records again: comparing the records tells which files did not change meanwhile.
# usage: read.sh <workspace>
# Exits with 9 where busybox's tar gives up in the middle of a file that became shorter: what follows in the archive
# could not be understood.
enter "$1"
exec 3>&1
options=
tar --version 2>/dev/null | grep -q GNU && options='--format=gnu --hard-dereference --no-recursion --no-unquote'
batch () {
  now
  records "$@"
  # shellcheck disable=SC2086 # several words
  complaint=$(tar $options -cf - "$@" 2>&1 >&3)
  code=$?
  [ "$code" -lt 126 ] || exit 8
  case $complaint in *'short read'*) exit 9;; esac
  records "$@"
} < /dev/null
