# Lets an ext file system that is not mounted take up its partition. $1 export, $2 offset, $3 size
set -eu
# In a container /dev may lack loop devices that the kernel has; the change is seen in these namespaces only.
mount -t devtmpfs devtmpfs /dev 2>/dev/null || :
device=$(losetup --find --show --offset "$2" --sizelimit "$3" "$1")
# Detached while it is open, it goes when its last user ends, however that ends.
exec 8<"$device"
losetup --detach "$device"
resize2fs -f "$device"
