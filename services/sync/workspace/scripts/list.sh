# Prints a record of everything in the workspace, `//` with the exit code of find, and what find complained about, up to
# another line of `//`.
# usage: list.sh <workspace>
exec 3>&1
# shellcheck disable=SC2154 # enter sets it
complaints=$({ enter "$1"; find . -exec stat -c "$format" {} +; } 2>&1 >&3)
echo "//$?"
printf '%.32768s\n//\n' "$complaints"
