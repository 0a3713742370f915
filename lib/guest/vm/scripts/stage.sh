# Makes the disks of the image known. mount.sh follows it, with the further arguments.
# $1 seconds since 1970, $2 address on a network, $3 most processes that may run
# Prints `disk NUMBER MAJOR MINOR` for each partition.
set -eu
date -s "@$1" >/dev/null
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  ip addr add "$2" dev eth0
fi
# This control group counts processes killed for want of memory, and failed starts of processes; init reads the counts.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/image
echo "$3" >/sys/fs/cgroup/image/pids.max
cd /guest
mkdir dev root disks stage binds
for disk in /sys/block/vd*; do
  name=${disk##*/}
  # By the shell alone, as in all these scripts: each process takes an emulated processor some 5 ms. The serial number does
  # not end in a line break, which `read` takes for a failure.
  read -r serial <"$disk/serial" || :
  case $serial in
    image*)
      read -r numbers <"$disk/dev"
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
shift 3
