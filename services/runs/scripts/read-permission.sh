# Prints the record of a request that waits for an answer. usage: read-permission.sh <state of the run> <request id>
# Exits 66 when there is no such request, 75 when it has been answered.
cd "$1/permissions/$2" 2>/dev/null && [ -e deadline ] || exit 66
[ ! -L resolved ] || exit 75
cat request
