# Prepares a run and becomes its runner, in one command: another one would be two round trips more.
# usage: sh -c 'eval "$1"' start <this script> <bytes of the preparation> <bytes of the prompt> <workdir> <runner>...
# Standard input brings the preparation (prepare.sh and its arguments, as a script), the prompt, and what the runner reads.
# Standard output is the runner's. When there is none, this exits as prepare.sh does, with what that prints as the last
# line of standard error, or with 78.

# The key moves from the environment to a descriptor that only Claude reads, and this shell starts over without it:
# neither Claude's tools nor /proc/<this shell>/environ have it then.
if [ -n "${ANTHROPIC_API_KEY:-}" ]; then
  exec 3<<KEY
$ANTHROPIC_API_KEY
KEY
  # shellcheck disable=SC2016 # it is for that shell
  exec env -u ANTHROPIC_API_KEY CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR=3 sh -c 'eval "$1"' "$0" "$@"
fi

bytes=$2 prompt_bytes=$3 workdir=$4
shift 4
fail () { printf '\n%s\n' "$2" >&2; exit "$1"; }
for program in dd timeout; do command -v $program > /dev/null || fail 76 $program; done
# Reads no more than its part, which no other program promises. The service may die at any moment, and send nothing more.
take () {
  timeout 60 dd bs=65536 count=$(($1 / 65536)) iflag=fullblock 2> /dev/null
  [ $(($1 % 65536)) = 0 ] || timeout 60 dd bs=$(($1 % 65536)) count=1 iflag=fullblock 2> /dev/null
}
preparation=$(take "$bytes")
case $preparation in *'# whole') ;; *) fail 78 'the preparation has not arrived';; esac
said=$( (take "$prompt_bytes" | (eval "$preparation")) 3<&-)
status=$?
case $status in
  0) ;;
  75 | 76 | 77 | 79 | 80 | 81) fail $status "$said";;
  *) fail 78 "$said";;
esac
cd "$workdir" || exit 78
exec "$@"
