# Records a request for permission, which comes on standard input, and prints its record for the log.
# usage: record-request.sh <state of the run> <run id> <request id> <how long it waits for an answer in ms>
# shellcheck disable=SC1091,SC2154 # lib.sh lies in the sandbox, and sets now
request=$1/permissions/$3
# A known one is not recorded again; its text is read all the same, as a broken pipe would kill the filter.
mkdir "$request" 2>/dev/null || { cat > /dev/null; exit 0; }
. "$1/lib.sh"
asked "$2" "$4" > "$request/request"
clock
echo $((now + $4 / 10)) > "$request/deadline"
cat "$request/request"
