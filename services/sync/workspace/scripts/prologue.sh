# What the scripts that follow have in common. Only what the userlands of GNU and busybox share is used.

# Goes to the workspace. Exits with 3 when it is missing or may not be entered, with 8 when the image lacks tools.
# GNU's stat writes a fraction of a second for `%.9Y`; busybox's has none.
enter () {
  cd "$1" 2>/dev/null || exit 3
  format='%n//%f %s %Y %Z %u %g %h %b'
  case $(stat -c %.9Y . 2>/dev/null) in *.*) format='%n//%f %s %.9Y %.9Z %u %g %h %b';; '') exit 8;; esac
}

# Prints one record per name that exists, then a line of `//`. A name ends at `//`, which no path from find contains,
# so it may hold anything else, line breaks included.
records () { stat -c "$format" "$@" 2>/dev/null; echo //; }

# Seconds since 1970, with a fraction where date knows one.
now () { case $(date +%s.%N) in *[!0-9.]*|*.) date +%s;; *) date +%s.%N;; esac; }
