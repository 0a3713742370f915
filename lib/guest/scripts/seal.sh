# Removes from the image new files that do not belong into an image. $JOB/before is the output of
# $JOB/snapshot before the changes.
set -eu
export LC_ALL=C

sh "$JOB/snapshot" >/tmp/imagebuilder-after
grep -vxF -f "$JOB/before" /tmp/imagebuilder-after >/tmp/imagebuilder-new || :
# log OLDSIZE SIZE PATH: in one go for all of them, since an image may have thousands.
awk '{ path = substr($0, length($1 $2) + 3) }
  FNR == NR { if ($1 == "log") size[path] = $2; next }
  $1 == "log" { print "log", (path in size ? size[path] : 0), $2, path; next }
  { print }' "$JOB/before" /tmp/imagebuilder-new >/tmp/imagebuilder-changes
while read -r kind value; do
  case $kind in
    there) rm -rf -- "$value" ;;
    log)
      old=${value%% *}
      value=${value#* }
      path=${value#* }
      # Logs that were there keep what they had; those of services keep their file, which may need its owner and mode.
      if [ -f "$path" ] && [ "${value%% *}" -gt "$old" ]; then truncate -s "$old" "$path"; fi
      ;;
    identity)
      path=${value%% *}
      before=$(grep "^identity $path " "$JOB/before")
      rm -f "$path"
      case ${before#"identity $path "} in
        link\ *) ln -s "${before#"identity $path link "}" "$path" ;;
        text\ ?*) printf '%s\n' "${before#"identity $path text "}" >"$path" && chmod 444 "$path" ;;
        text*) : >"$path" && chmod 444 "$path" ;;
      esac
      ;;
  esac
done </tmp/imagebuilder-changes

# Boot loader configuration that was written anew names the root file system by what grub-probe finds here; it gets the
# name that the image has always used. The device name below is that of assemble.sh.
root=$(sed -n 's/^root //p' "$JOB/before" | head -n 1)
device=$(sed -n 's/^[0-9]* [0-9]* [0-9:]* [^ ]* \/ .* - [^ ]* \(\/dev\/[^ ]*\) .*/\1/p' /proc/self/mountinfo | head -n 1)
uuid=
for link in /dev/disk/by-uuid/*; do
  [ "$(readlink "$link")" = "../../${device#/dev/}" ] && uuid=${link##*/}
done
grep '^boot ' /tmp/imagebuilder-new | while read -r kind path rest; do
  if [ -n "$root" ] && [ -n "$device" ]; then
    value=$(printf %s "$root" | sed 's/[\&#]/\\&/g')
    sed -i "/^[[:blank:]]*\(linux\|linux16\|linuxefi\|kernel\)[[:blank:]]/ {
      s#\([[:blank:]]root=\)$device\([[:blank:]]\|\$\)#\1$value\2#g
      s#\([[:blank:]]root=\)UUID=${uuid:-none}\([[:blank:]]\|\$\)#\1$value\2#g
    }" "$path"
  fi
  if grep -q '/dev/image[0-9]\|/dev/loop[0-9]\|hostdisk/' "$path"; then
    echo "device: $path names a device that only this build knows: $(grep -m 1 '/dev/image[0-9]\|/dev/loop[0-9]\|hostdisk/' "$path")" >&2
    exit 66
  fi
done
