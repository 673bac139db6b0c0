# Takes the sandbox's run lock and writes the run's files; the prompt comes on standard input. Behind lib.sh.
# usage: prepare.sh <state directory> <lock> <runs directory> <run id> <workdir> <first line of the log> <programs>
#   <variable that marks processes of a run> <name> <script>...
# Exits 75 and prints the active run's id when the lock is taken, 76 and prints a program that the image lacks.
# shellcheck disable=SC2154 # lock.sh sets holder
umask 077
state=$1 lock=$2 runs=$3 run=$4 workdir=$5 started=$6 programs=$7 marker=$8
shift 8
alive () { is_active "$state/$1" "$1"; }
abandon () { rm -rf "${state:?}/$run" "${runs:?}/$run"; exit "$1"; }

for program in $programs; do command -v "$program" > /dev/null || { printf %s "$program"; exit 76; }; done
# Alive from here on, as has to be before it takes the lock.
mkdir -p "$state/$run" "$runs/$run" "$workdir" || abandon 1
acquire "$lock" "$run"
case $? in
  0) ;;
  1) printf %s "$holder"; abandon 75;;
  *) abandon 1;;
esac
# A runner that was killed may have left its Claude behind; not only that of the last holder, as a prepare that took over
# from it may have been killed before it came to this.
for other in "$state"/run_*; do
  if [ "$other" != "$state/$run" ] && [ -e "$other/kill.sh" ] && [ ! -e "$other/exit" ]; then
    sh "$other/kill.sh" "$marker=${other##*/}" TERM 10 KILL 20 < /dev/null
  fi
done
while [ $# -gt 0 ]; do printf %s "$2" > "$state/$run/$1" || abandon 1; shift 2; done
cat > "$state/$run/prompt" || abandon 1
printf '%s\n' "$started" > "$runs/$run/log" || abandon 1
