# Prints the machine's tables of TCP sockets, then the sockets of this sandbox's processes: where a network is shared,
# the tables have those of others as well.
LC_ALL=C; export LC_ALL
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
echo sockets
ls -l /proc/[0-9]*/fd 2>/dev/null | sed -n 's/.*socket:\[\([0-9]*\)\].*/\1/p' | sort -u
