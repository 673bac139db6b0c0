# Unpacks an archive from standard input in the workspace, which it creates.
# usage: write.sh <workspace>
{ mkdir -p "$1" && cd "$1"; } || exit 3
exec tar -xpof -
