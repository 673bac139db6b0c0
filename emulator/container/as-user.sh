# Becomes a user of the container's image and then a command. Usage: as-user.sh USER[:GROUP] COMMAND [ARGUMENT ...]
# As with Docker, a name must be in /etc/passwd or /etc/group and a number need not; without a group the user's own ones
# count. The environment is the command's already, hence the names of the variables.
__modal_user=${1%%:*}
case $1 in
  *:?*) __modal_group=${1#*:} ;;
  *) __modal_group= ;;
esac
__modal_spec=$1
shift
__modal_tool () {
  __modal_program=$1
  shift
  /__modal/rt/ld.so --library-path /__modal/rt/lib "/__modal/rt/$__modal_program" "$@"
}

__modal_uid= __modal_gid= __modal_home=/ __modal_name= __modal_groups=
case $__modal_user in
  *[!0-9]*) ;;
  *) __modal_uid=$__modal_user ;;
esac
while IFS=: read -r __modal_n _ __modal_u __modal_g _ __modal_h _ || [ -n "$__modal_n" ]; do
  if [ "$__modal_u" = "$__modal_uid" ] || { [ -z "$__modal_uid" ] && [ "$__modal_n" = "$__modal_user" ]; }; then
    __modal_name=$__modal_n __modal_uid=$__modal_u __modal_gid=$__modal_g __modal_home=${__modal_h:-/}
    break
  fi
done 2> /dev/null < /etc/passwd

case $__modal_group in
  '') ;;
  *[!0-9]*) __modal_gid= ;;
  *) __modal_gid=$__modal_group ;;
esac
while IFS=: read -r __modal_n _ __modal_g __modal_m || [ -n "$__modal_n" ]; do
  if [ -n "$__modal_group" ]; then
    [ "$__modal_n" != "$__modal_group" ] || __modal_gid=$__modal_g
  elif [ -n "$__modal_name" ]; then
    case ",$__modal_m," in
      *",$__modal_name,"*) __modal_groups=$__modal_groups,$__modal_g ;;
    esac
  fi
done 2> /dev/null < /etc/group
if [ -z "$__modal_uid" ] || { [ -z "$__modal_gid" ] && [ -n "$__modal_group" ]; }; then
  echo "the image's USER $__modal_spec is not in its /etc/passwd and /etc/group" >&2
  exit 126
fi

# So that it can open /dev/stdin, /dev/stdout and /dev/stderr again. A pipe or a terminal is this command's alone; of
# what else there is, a socket can't be opened again, and /dev/null is everybody's in the container.
for __modal_fd in 0 1 2; do
  if [ -p "/proc/$$/fd/$__modal_fd" ] || [ -t "$__modal_fd" ]; then
    __modal_tool chown -f "$__modal_uid" "/proc/$$/fd/$__modal_fd"
  fi
done
[ -n "${HOME+set}" ] || export HOME="$__modal_home"
__modal_groups=${__modal_groups#,}
exec /__modal/rt/ld.so --library-path /__modal/rt/lib /__modal/rt/setpriv --reuid "$__modal_uid" \
  --regid "${__modal_gid:-0}" --groups "${__modal_groups:-${__modal_gid:-0}}" "$@"
