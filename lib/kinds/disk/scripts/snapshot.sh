# Goes on where snapshot.sh of lib/guest ends, with the boot loader's files.
if [ -e /boot/grub/device.map ] || [ -L /boot/grub/device.map ]; then echo 'there /boot/grub/device.map'; fi

# boot PATH DIGEST, and root VALUE: how the boot loader's configuration, or else fstab, names the root file system.
set --
for path in /boot/grub/grub.cfg /boot/grub/menu.lst; do [ ! -f "$path" ] || set -- "$@" "$path"; done
[ $# = 0 ] || md5sum "$@" | while read -r digest path; do echo "boot $path $digest"; done
# seal.sh needs the value before the changes.
if [ -n "${sealing:-}" ]; then set --; elif [ -f /etc/fstab ]; then set -- "$@" /etc/fstab; fi
[ $# = 0 ] || sed -n \
  -e 's/^[[:blank:]]*\(linux\|linux16\|linuxefi\|kernel\)[[:blank:]].*[[:blank:]]root=\([^[:blank:]]*\).*/root \2/p' \
  -e 's/^\(\(LABEL\|UUID\|PARTUUID\)=[^[:blank:]]*\)[[:blank:]]\{1,\}\/[[:blank:]].*/root \1/p' "$@"

# loader PATH INODE CHANGED: a file of a boot loader's package. Its copy boots, which seal.sh compares.
stat -c 'loader %n %i %Z' /usr/lib/grub/*/moddep.lst /usr/lib/grub/*-signed/grub*.efi.signed /usr/lib/shim/shim*.efi.signed \
  2>/dev/null || :
