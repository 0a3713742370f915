# Fills the file systems of the disk image `disk.raw` in the current folder from ./tree.
# Environment: IMAGE_ROOT_UUID, IMAGE_ROOT_OFFSET, IMAGE_ROOT_KIB, and for a /boot of its own IMAGE_BOOT_UUID (or empty),
# IMAGE_BOOT_OFFSET, IMAGE_BOOT_KIB. Offsets are in bytes.
set -eu
make_ext4() { # TREE LABEL UUID OFFSET KIB
  mke2fs -q -F -t ext4 -L "$2" -U "$3" -d "$1" -E "offset=$4,lazy_itable_init=1,root_owner=0:0" disk.raw "${5}k"
}
if [ -n "$IMAGE_BOOT_UUID" ]; then
  mv tree/boot boot-tree
  mkdir tree/boot
  make_ext4 boot-tree BOOT "$IMAGE_BOOT_UUID" "$IMAGE_BOOT_OFFSET" "$IMAGE_BOOT_KIB"
fi
make_ext4 tree cloudimg-rootfs "$IMAGE_ROOT_UUID" "$IMAGE_ROOT_OFFSET" "$IMAGE_ROOT_KIB"
