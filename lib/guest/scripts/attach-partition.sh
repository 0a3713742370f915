# Mounts one partition of the exported disk, on the worker's side of the namespaces.
# $1 export, $2 mount point, $3 offset, $4 size, $5 file system, $6 mount options
set -eu
# In a container /dev may lack loop devices that the kernel has; the change is seen in these namespaces only.
mount -t devtmpfs devtmpfs /dev 2>/dev/null || :
mount -t "$5" -o "loop,offset=$3,sizelimit=$4,$6" "$1" "$2"
