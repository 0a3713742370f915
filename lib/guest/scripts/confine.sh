# Runs a command inside the image, from the worker's side and in a mount namespace of its own: all that can be reached
# in it is the image. $1 is the folder of the guest, $2 what setpriv is to leave of the capabilities, the rest is the
# command, which the image has.
set -eu
cd "$1"
capabilities=$2
shift 2
# An empty folder becomes the root of everything, and the image lies in that: whoever climbs out of the chroot is in
# the empty folder, and as long as he has not, the kernel sees a chroot and lets him make no user namespace.
mount -t tmpfs -o mode=755,size=16k,nosuid,nodev,noexec none stage
mkdir stage/root
mount --no-mtab --move root stage/root
cd stage
# The tools below are still found where they were: the root of this process stays until chroot.
mount --no-mtab --move . /
exec setpriv --inh-caps -all --bounding-set "$capabilities" -- chroot root "$@"
