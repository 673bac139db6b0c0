# Whether Claude has said its last word: the log's last lines have a result in them, and not only in a tool's input.
# usage: judge.sh <log>
[ -f "$1" ] || exit 1
tail -n 3 "$1" | grep -a '"type":"result"' | grep -aqvE '"type":"(assistant|user|system|stream_event|control_request)"'
