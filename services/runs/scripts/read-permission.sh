# Prints the record of a request that waits for an answer. usage: read-permission.sh <state of the run> <request id>
# Exits 75 when it has been answered. Without such a request it prints nothing.
cd "$1/permissions/$2" 2>/dev/null || exit 0
[ ! -L resolved ] || exit 75
cat request
