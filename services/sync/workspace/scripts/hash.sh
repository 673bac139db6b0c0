# Read from standard input, followed by lines of `hash_files 'name' 'name'...` or, for a name that sha256sum escapes,
# `hash_as <number> 'name'`: its hash is printed with the number in place of the name.
# usage: hash.sh <workspace>
enter "$1"
hash_files () { sha256sum "$@" 2>/dev/null; } < /dev/null
hash_as () { sum=$(sha256sum < "$2" 2>/dev/null) && printf '%s  %s\n' "${sum%% *}" "$1"; }
