# Whether Claude has given its result: it is among the last lines of the log, and not merely in a tool's input.
# usage: has-result.sh <log>
[ -f "$1" ] || exit 1
tail -n 3 "$1" | grep -a '"type":"result"' | grep -aqvE '"type":"(assistant|user|system|stream_event|control_request)"'
