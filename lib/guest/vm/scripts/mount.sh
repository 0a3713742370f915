# Mounts a file system of the image and looks at it, before anything of the image runs.
# $1 number of its partition, $2 type, $3 mount options, $4 `keep`, or another word to unmount it again
# Prints what look.sh prints.
set -eu
cd /guest
mount -t "$2" -o "$3" "disks/$1" "stage/$1" || exit 64
sh "$JOB/look" "/guest/stage/$1" "$2" || exit 65
[ "$4" = keep ] || umount "stage/$1"
