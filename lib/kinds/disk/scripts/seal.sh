# Goes on where seal.sh of lib/guest ends.
# Boot loader configuration that was written anew names the root file system by what grub-probe finds here; it gets the
# name that the image has always used. The device name below is that of assemble.sh.
known=
look_up() {
  known=yes
  root=$(sed -n '/^root /{s///p;q}' "$JOB/before")
  device=$(sed -n '/^[0-9]* [0-9]* [0-9:]* [^ ]* \/ .* - [^ ]* \/dev\//{s/.* - [^ ]* \(\/dev\/[^ ]*\) .*/\1/p;q}' /proc/self/mountinfo)
  uuid=
  for link in /dev/disk/by-uuid/*; do
    if [ "$(readlink "$link")" = "../../${device#/dev/}" ]; then uuid=${link##*/}; fi
  done
}
while read -r kind path _rest; do
  [ "$kind" = boot ] || continue
  [ -n "$known" ] || look_up
  if [ -n "$root" ] && [ -n "$device" ]; then
    value=$(printf %s "$root" | sed 's/[\&#]/\\&/g')
    sed -i "/^[[:blank:]]*\(linux\|linux16\|linuxefi\|kernel\)[[:blank:]]/ {
      s#\([[:blank:]]root=\)$device\([[:blank:]]\|\$\)#\1$value\2#g
      s#\([[:blank:]]root=\)UUID=${uuid:-none}\([[:blank:]]\|\$\)#\1$value\2#g
    }" "$path"
  fi
  if grep -q '/dev/image[0-9]\|/dev/loop[0-9]\|hostdisk/' "$path"; then
    echo "unsealed: $path names a device that only this build knows: $(grep -m 1 '/dev/image[0-9]\|/dev/loop[0-9]\|hostdisk/' "$path")" >&2
    exit 66
  fi
done </tmp/imagebuilder-new

# Boot loaders that boot are copies of their packages' files. The result says which are older than these.
stale() {
  echo "warning: the boot loader in $1 is that of the base image, not that of the changed package: $2"
}
later='run grub-install on a machine of this image to renew it'
while read -r kind path _rest; do
  [ "$kind" = loader ] || continue
  folder=${path%/*}
  case $path in
    */i386-pc/moddep.lst)
      used=/boot/grub/i386-pc
      # The modules and the code that the BIOS starts are renewed together, or not at all.
      if [ -d "$used" ]; then
        names=$(cd "$used" && echo *.mod)
        # shellcheck disable=SC2086 # several names, none with a blank
        old=$(cd "$used" && cat -- $names | md5sum) new=$(cd "$folder" && cat -- $names 2>/dev/null | md5sum)
        [ "$old" = "$new" ] || stale "$used" "$later"
      elif grep -qx 'left i386-pc' /run/imagebuilder-borrowed/grub-install 2>/dev/null; then
        echo "warning: no boot loader for the BIOS was put on the disk: $later"
      fi
      ;;
    *.efi.signed)
      name=${path##*/}
      for used in /boot/efi/EFI/*/"${name%.signed}"; do
        if [ ! -f "$used" ] || cmp -s "$path" "$used"; then continue; fi
        stale "$used" "$later"
      done
      ;;
  esac
done </tmp/imagebuilder-new
if [ -f /run/imagebuilder-borrowed/grub-install ] && grep -q '^closed ' /run/imagebuilder-borrowed/grub-install; then
  echo "warning: the boot loader on the EFI system partition is that of the base image: the partition could not be opened; $later"
fi
