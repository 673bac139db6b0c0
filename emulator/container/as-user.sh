# Becomes a user of the container's image and then a command. Usage: as-user.sh USER[:GROUP] COMMAND [ARGUMENT ...]
# As with Docker, a name must be in /etc/passwd or /etc/group and a number need not; without a group the user's own ones
# count. It runs as root, so nothing of the image's may be in its environment.
spec=$1
shift
user=${spec%%:*}
case $spec in
  *:?*) group=${spec#*:} ;;
  *) group= ;;
esac
tool () {
  program=$1
  shift
  /__modal/rt/ld.so --library-path /__modal/rt/lib "/__modal/rt/$program" "$@"
}

uid= gid= home=/ name= groups=
case $user in
  *[!0-9]*) ;;
  *) uid=$user ;;
esac
while IFS=: read -r n _ u g _ h _ || [ -n "$n" ]; do
  if [ "$u" = "$uid" ] || { [ -z "$uid" ] && [ "$n" = "$user" ]; }; then
    name=$n uid=$u gid=$g home=${h:-/}
    break
  fi
done 2> /dev/null < /etc/passwd

case $group in
  '') ;;
  *[!0-9]*) gid= ;;
  *) gid=$group ;;
esac
while IFS=: read -r n _ g m || [ -n "$n" ]; do
  if [ -n "$group" ]; then
    [ "$n" != "$group" ] || gid=$g
  elif [ -n "$name" ]; then
    case ",$m," in
      *",$name,"*) groups=$groups,$g ;;
    esac
  fi
done 2> /dev/null < /etc/group
if [ -z "$uid" ] || { [ -z "$gid" ] && [ -n "$group" ]; }; then
  echo "the image's USER $spec is not in its /etc/passwd and /etc/group" >&2
  exit 126
fi

# So that it can open /dev/stdin, /dev/stdout and /dev/stderr again. A pipe or a terminal is this command's alone; of
# what else there is, a socket can't be opened again, and /dev/null is everybody's in the container.
for fd in 0 1 2; do
  if [ -p "/proc/$$/fd/$fd" ] || [ -t "$fd" ]; then
    tool chown -f "$uid" "/proc/$$/fd/$fd"
  fi
done
# What the command is read from, if it is not in variables.
[ ! -f "/proc/$$/fd/3" ] || tool chown "$uid" "/proc/$$/fd/3"
export HOME="$home"
groups=${groups#,}
exec /__modal/rt/ld.so --library-path /__modal/rt/lib /__modal/rt/setpriv --reuid "$uid" \
  --regid "${gid:-0}" --groups "${groups:-${gid:-0}}" "$@"
