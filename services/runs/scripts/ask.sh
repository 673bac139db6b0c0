# Notes what Claude asks for (its request comes on standard input), and prints it as a record of the run.
# usage: ask.sh <state of the run> <run id> <id of the request> <how long it waits for an answer in ms>
directory=$1/asked/$3
# One that is known already is nothing new; read to its end all the same, or whoever writes it would be killed.
mkdir "$directory" 2>/dev/null || { cat > /dev/null; exit 0; }
{
  printf '\036{"record":"asked","run":"%s","at":%s,"patience":%s,"request":' "$2" "$(date +%s)" "$4"
  tr -d '\n'
  echo '}'
} > "$directory/request"
read -r up _ < /proc/uptime
centis=${up#*.}
echo $((${up%.*} * 100 + 1$centis - 100 + $4 / 10)) > "$directory/until"
cat "$directory/request"
