# Mounts one partition of the exported disk, on the worker's side of the namespaces.
# $1 export, $2 mount point, $3 offset, $4 size, $5 file system, $6 mount options
set -eu
# In a container /dev may lack loop devices that the kernel has; the change is seen in these namespaces only.
mount -t devtmpfs devtmpfs /dev 2>/dev/null || :
# Copies of one btrfs are mounted one after the other: the kernel finds the device by the UUID, and must have one open
# before it meets the next. All namespaces share this file.
lock=
[ "$5" != btrfs ] || lock='flock /dev/loop-control'
# shellcheck disable=SC2086 # several words, or none
$lock mount -t "$5" -o "loop,offset=$3,sizelimit=$4,$6" "$1" "$2"
