# Mounts the other partitions and puts together the file tree of scripts inside, by the script of the host guest.
# In $JOB: `partitions` (NUMBER TYPE OPTIONS), `folders` (paths below /guest/binds, the upper ones first), `assemble` and
# its input `plan`. Prints `errors COUNT`, of all file systems, and what assemble.sh prints.
set -eu
cd /guest
while read -r number type options; do
  mount -t "$type" -o "$options" "disks/$number" "stage/$number" || {
    echo "partition $number" >&2
    exit 64
  }
done <"$JOB/partitions"
errors=0
for file in /sys/fs/ext4/*/errors_count; do
  [ ! -e "$file" ] || { read -r count <"$file" && errors=$((errors + count)); }
done
echo "errors $errors"
while read -r folder; do
  mkdir "binds/$folder"
  case $folder in
    */*) ;;
    # Of any size: what apt fetches counts as memory, as all else does.
    *) mount -t tmpfs -o mode=755,nosuid,nodev,size=0 binds "binds/$folder" ;;
  esac
done <"$JOB/folders"

# First process of the namespaces in which everything of the image runs. It only waits; whenever an orphan that it has
# inherited ends, `jobs` collects it.
mkfifo never
# shellcheck disable=SC2016 # expanded by the shell inside
unshare -p -i -u -f sh -c '
  trap jobs CHLD
  read -r id rest </proc/self/stat
  echo "$id" >process.new
  mv process.new process
  exec 3<>never
  while :; do read -r line <&3; done
' </dev/null >/dev/null 2>&1 3>&- &
while [ ! -e process ]; do sleep 0.01; done
read -r id <process
exec nsenter -t "$id" -p -i -u sh "$JOB/assemble" /guest these <"$JOB/plan"
