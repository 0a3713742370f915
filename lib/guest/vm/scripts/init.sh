#!/bin/sh
# First process of the vm. Loads the modules, opens the ports and then follows the worker's lines on the control port,
# one at a time:
#   hold        answers `held` where a state of the vm may be saved now, to go on any number of times, else `refused`
#   begin SEED  takes up what belongs to this start alone: random numbers, in hexadecimal, and the disks; then `ready`
#   run NONCE   runs the file `start` of the payload disk as it is now; standard output, standard error and
#               descriptors 3 and 4 go to their ports, each followed by a NUL and the nonce; then `done NONCE CODE` to control
# `limit memory` or `limit processes` goes to control as soon as processes have met that limit, and before `done`.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
load() {
  for module in "$1"/*.ko; do
    [ ! -e "$module" ] || insmod "$module" || echo "$module cannot be loaded"
  done
}
load /modules

# Ports and disks appear a moment after their drivers. These paths to them stay, whatever is mounted over /dev.
find_port() {
  while :; do
    for port in /sys/class/virtio-ports/*; do
      name=
      # By the shell alone: each process costs an emulated processor some 5 ms.
      [ ! -e "$port/name" ] || read -r name <"$port/name"
      if [ "$name" = "$1" ] && [ -c "/dev/${port##*/}" ]; then
        device=/dev/${port##*/}
        return
      fi
    done
    sleep 0.01
  done
}
find_port control && exec 9<>"$device"
find_port stdout && exec 6>"$device"
find_port stderr && exec 7>"$device"
find_port status && exec 8>"$device"
find_port result && exec 5>"$device"

# The folder in which scripts find the payload; shared, so that it is also seen where it is bound into the image.
mkdir /guest/jobs
mount -t tmpfs -o mode=755,size=64k jobs /guest/jobs
mount --make-shared /guest/jobs
mkdir /guest/jobs/job

start_processors() {
  for processor in /sys/devices/system/cpu/cpu[0-9]*/online; do
    [ ! -e "$processor" ] || echo 1 >"$processor"
  done
}

# All up to here is the same for every vm with these devices, so a state that is saved here may go on any number of times.
read -r word seed <&9
if [ "$word" = hold ]; then
  start_processors
  # Nothing may have seeded random numbers yet, and no disk be known, which takes both drivers as modules. The size is that
  # of kernels (from 5.18 on) that tell how many bits have seeded them.
  answer=refused
  case $(cat /proc/sys/kernel/random/poolsize /proc/sys/kernel/random/entropy_avail) in
    256?[0-9] | 256?[0-9][0-9]) [ -e /sys/block/vda ] || answer=held ;;
  esac
  echo $answer >&9
  read -r word seed <&9
fi
# Vms that go on with one state must not have the same random numbers: packages make keys.
echo "$seed" >/dev/urandom
seed=
load /modules/begin
# Waits until they are seeded, by the device and by what has been written.
# shellcheck disable=SC3045 # the shell of the vm is busybox, whose read has -n
read -r -n 1 _byte </dev/random
while [ ! -b /payload ]; do
  for disk in /sys/block/vd*; do
    serial=
    # It does not end in a line break, which `read` takes for a failure.
    [ ! -e "$disk/serial" ] || read -r serial <"$disk/serial"
    if [ "$serial" = payload ]; then
      read -r numbers <"$disk/dev"
      mknod /payload b "${numbers%:*}" "${numbers#*:}"
    fi
  done
  [ -b /payload ] || sleep 0.01
done

echo ready >&9
# The other processors start meanwhile: before, each would have kept the first one waiting.
start_processors &

# All processes of the image are in this control group, with its limits, once stage.sh has made it.
group=/sys/fs/cgroup/image
say_limits() {
  [ -e $group ] || return
  read -r name count <$group/pids.events
  [ "$count" = 0 ] || echo 'limit processes' >&9
  while read -r name count; do
    [ "$name" != oom_kill ] || [ "$count" = 0 ] || echo 'limit memory' >&9
  done <$group/memory.events
}
mkfifo /never
# The shell can pause only by reading input that does not come; `sleep` would be a process each time.
while :; do
  # shellcheck disable=SC3045 # the shell of the vm is busybox, whose read has -t
  read -r -t 1 _line
  say_limits
done <>/never &

while read -r word nonce <&9; do
  [ "$word" = run ] || continue
  umount /guest/jobs/job 2>/dev/null
  # The worker has written to the disk since it was last read.
  blockdev --flushbufs /payload
  mount -t iso9660 -o ro,nosuid,nodev,mode=0444,dmode=0555 /payload /guest/jobs/job || break
  (
    [ ! -e $group ] || echo 0 >$group/cgroup.procs
    exec sh /guest/jobs/job/start
  ) </dev/null 1>&6 2>&7 3>&8 4>&5 5>&- 6>&- 7>&- 8>&- 9>&-
  code=$?
  say_limits
  for port in 5 6 7 8; do
    printf '\0%s' "$nonce" >&"$port"
  done
  echo "done $nonce $code" >&9
done
# The worker is gone, which closes its end of the port.
poweroff -f
