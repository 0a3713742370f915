# Goes on where snapshot.sh of lib/guest ends, with the boot loader's files.
if [ -e /boot/grub/device.map ] || [ -L /boot/grub/device.map ]; then echo 'there /boot/grub/device.map'; fi

# boot PATH INODE CHANGED: the boot loader's configuration.
# loader PATH INODE CHANGED: a file of a boot loader's package. Its copy boots, which seal.sh compares.
find -L /boot/grub/grub.cfg /boot/grub/menu.lst -type f -printf 'boot %p %i %C@\n' 2>/dev/null || :
find -L /usr/lib/grub/*/moddep.lst /usr/lib/grub/*-signed/grub*.efi.signed /usr/lib/shim/shim*.efi.signed \
  -printf 'loader %p %i %C@\n' 2>/dev/null || :

# root VALUE: how that configuration, or else fstab, names the root file system.
set --
for path in /boot/grub/grub.cfg /boot/grub/menu.lst /etc/fstab; do [ ! -f "$path" ] || set -- "$@" "$path"; done
[ $# = 0 ] || sed -n -e 's/^[[:blank:]]*\(linux\|linux16\|linuxefi\|kernel\)[[:blank:]].*[[:blank:]]root=\([^[:blank:]]*\).*/root \2/p' \
  -e 's/^\(\(LABEL\|UUID\|PARTUUID\)=[^[:blank:]]*\)[[:blank:]]\{1,\}\/[[:blank:]].*/root \1/p' \
  "$@"
