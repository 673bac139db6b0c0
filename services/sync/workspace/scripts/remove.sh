# Read from standard input, followed by lines of `remove 'name' 'name'...`: files, symlinks and empty directories.
# usage: remove.sh <workspace>
enter "$1"
remove () {
  for name in "$@"; do
    if [ -d "$name" ] && [ ! -h "$name" ]; then rmdir "$name"; else rm -f "$name"; fi
  done
} < /dev/null
