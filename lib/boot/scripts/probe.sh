# Hands out, by descriptor 4, the files that an image boots by: for each a line `SIZE NAME` and its bytes.
# $1 `changed`: only initial ramdisks that are not in $JOB/before, the output of the snapshot; `all`: every one
# $2 largest file in bytes; $3 most initial ramdisks
export LC_ALL=C
count=0
hand_out() { # NAME FILE
  [ -f "$2" ] || return 0
  size=$(stat -L -c %s -- "$2")
  if [ "$size" -gt "$largest" ]; then
    printf '0 large:%s\n' "$1" >&4
    return 0
  fi
  printf '%s %s\n' "$size" "$1" >&4
  head -c "$size" -- "$2" >&4
}
largest=$2
most=$3

# A file in /proc has no size.
cat /proc/self/mountinfo >/tmp/imagebuilder-mounts
hand_out mounts /tmp/imagebuilder-mounts
{
  find / -maxdepth 1 -printf '%y\t%s\t%p\t%l\n'
  find /boot /efi -mindepth 1 -printf '%y\t%s\t%p\t%l\n' 2>/dev/null
} >/tmp/imagebuilder-tree
hand_out tree /tmp/imagebuilder-tree
grep -hx '/boot/vmlinu[xz]-.*' /var/lib/dpkg/info/linux-image-*.list >/tmp/imagebuilder-kernels 2>/dev/null
hand_out kernels /tmp/imagebuilder-kernels
for program in /usr/sbin/update-initramfs /usr/bin/dracut /usr/sbin/dracut; do
  [ ! -x "$program" ] || printf '0 maker:%s\n' "$program" >&4
done

# Programs of the boot loaders are a few megabytes; an unified kernel image, which is larger, is not looked into.
find /boot /efi -size -16384k \( \
  -path '*/grub*/grub.cfg' -o -ipath '*/efi/*/grub.cfg' -o -name menu.lst -o -path '*/loader/loader.conf' \
  -o -path '*/loader/entries/*.conf' -o -name extlinux.conf -o -iname syslinux.cfg \
  -o -ipath '*/efi/*/grub*.efi' -o -ipath '*/efi/*/shim*.efi' -o -ipath '*/efi/boot/boot*.efi' \) \
  2>/dev/null | head -n 200 >/tmp/imagebuilder-files
while read -r path; do hand_out "$path" "$path"; done </tmp/imagebuilder-files

find /boot /efi -type f \( -name 'initrd*' -o -name 'initramfs*' \) -printf 'bootfile %y %s %T@,%C@,%i %p %l\n' \
  2>/dev/null >/tmp/imagebuilder-initrds
[ "$1" = all ] || grep -vxF -f "$JOB/before" /tmp/imagebuilder-initrds >/tmp/imagebuilder-wanted
[ "$1" != all ] || cp /tmp/imagebuilder-initrds /tmp/imagebuilder-wanted
while read -r _kind _type _size _times path; do
  path=${path% }
  count=$((count + 1))
  if [ "$count" -le "$most" ]; then hand_out "$path" "$path"; else printf '0 left:%s\n' "$path" >&4; fi
done </tmp/imagebuilder-wanted
for folder in /lib/modules/*; do
  for name in modules.dep modules.builtin; do
    hand_out "${folder}/$name" "$folder/$name"
  done
done
for path in /boot/vmlinu[xz]-*; do
  [ -f "$path" ] || continue
  head -c 1024 -- "$path" >/tmp/imagebuilder-head
  hand_out "head:$path" /tmp/imagebuilder-head
done
exit 0
