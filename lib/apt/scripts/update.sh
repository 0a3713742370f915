# Fetches the package lists. apt's exit code goes out as a status line: its messages decide what it means.
exec 2>&1
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
apt-get -c "$JOB/apt.conf" -q -o APT::Status-Fd=3 update </dev/null
echo "exit:$?" >&3
