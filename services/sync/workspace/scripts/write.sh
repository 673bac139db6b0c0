# Unpacks an archive from standard input in the workspace, which it creates.
# usage: write.sh <workspace>
{ mkdir -p "$1" && cd "$1"; } || exit 3
# Otherwise GNU's tar makes some symlinks at the very end, when it has set the times of their directories already. All
# names begin with ./ and symlinks come last. busybox has no such option, and does not read the variable.
export TAR_OPTIONS=--absolute-names
exec tar -xpof -
