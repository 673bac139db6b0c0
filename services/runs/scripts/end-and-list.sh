# Ends a run that was started in this sandbox, whose state directory is there then, and prints in a line how many processes
# are left. Behind lib.sh, and in front of list-runs.sh, which has the same arguments.
left=0
if [ -d "$1/$6" ]; then left=$(end_run "$1/$6" "$2/$6" "$6" cancelled); fi
echo "${left:-0}"
