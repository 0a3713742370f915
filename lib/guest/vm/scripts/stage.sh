# Makes the disks of the image known and mounts its root, before anything of the image runs.
# $1 seconds since 1970, $2 number of the root partition, $3 its file system, $4 mount options, $5 address on a network,
# $6 most processes that may run
# Prints `disk NUMBER MAJOR MINOR` for each partition, `errors COUNT`, `fstab` and after that the text of it.
set -eu
date -s "@$1" >/dev/null
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  ip addr add "$5" dev eth0
fi
# This control group counts processes killed for want of memory, and failed starts of processes; init reads the counts.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/image
echo "$6" >/sys/fs/cgroup/image/pids.max
cd /guest
mkdir dev root disks stage binds
for disk in /sys/block/vd*; do
  name=${disk##*/}
  serial=$(cat "$disk/serial")
  case $serial in
    image*)
      numbers=$(cat "$disk/dev")
      echo "disk ${serial#image} ${numbers%:*} ${numbers#*:}"
      ln -s "/dev/$name" "disks/${serial#image}"
      mkdir "stage/${serial#image}"
      ;;
    swap)
      mkswap "/dev/$name" >/dev/null
      swapon "/dev/$name"
      ;;
  esac
done
mount -t "$3" -o "$4" "disks/$2" "stage/$2" || exit 64
echo "errors $(cat /sys/fs/ext4/*/errors_count 2>/dev/null | { sum=0; while read -r count; do sum=$((sum + count)); done; echo $sum; })"
cd "stage/$2"
if [ -L etc ] || [ ! -d etc ]; then
  echo '/etc in the image is no folder' >&2
  exit 65
fi
echo fstab
if [ -L etc/fstab ] || [ -e etc/fstab ]; then
  if [ -L etc/fstab ] || [ ! -f etc/fstab ] || [ "$(stat -c %s etc/fstab)" -gt 524288 ]; then
    echo '/etc/fstab in the image is no plain file' >&2
    exit 65
  fi
  cat etc/fstab
fi
