# Goes on where seal.sh of lib/guest ends.
# Boot loader configuration that was written anew names the root file system by what grub-probe finds here; it gets the
# name that the image has always used. The device name below is that of assemble.sh.
root=$(sed -n 's/^root //p' "$JOB/before" | head -n 1)
device=$(sed -n 's/^[0-9]* [0-9]* [0-9:]* [^ ]* \/ .* - [^ ]* \(\/dev\/[^ ]*\) .*/\1/p' /proc/self/mountinfo | head -n 1)
uuid=
for link in /dev/disk/by-uuid/*; do
  [ "$(readlink "$link")" = "../../${device#/dev/}" ] && uuid=${link##*/}
done
grep '^boot ' /tmp/imagebuilder-new | while read -r _kind path _rest; do
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
done
