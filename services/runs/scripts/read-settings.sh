# Prints the CLI's settings of the workspace, or nothing where there are none. Exits 77 when that is no file, or too large.
# usage: read-settings.sh <the CLI's directory> <most bytes>
file=$1/settings.json
[ -e "$file" ] || [ -L "$file" ] || exit 0
[ -f "$file" ] && [ ! -L "$file" ] && [ "$(stat -c %s "$file")" -le "$2" ] || exit 77
cat "$file"
