# Fetches the package lists. apt's exit code goes out as a status line: its messages decide what it means. Where there is a file
# add-sources, that script is run before.
exec 2>&1
# shellcheck source=add-sources.sh
if [ -e "$JOB/add-sources" ]; then
  # Not as a condition, in which its `set -e` would not hold.
  (. "$JOB/add-sources")
  code=$?
  [ "$code" = 0 ] || exit "$code"
fi
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
apt-get -c "$JOB/apt.conf" -q -o APT::Status-Fd=3 update </dev/null
echo "exit:$?" >&3
