# Removes from the image new files that do not belong into an image. $JOB/before is the output of $JOB/snapshot before
# the changes. first-boot.sh and the text that a kind of image adds follow it (SealPart in seal.ts): they read the new lines
# in /tmp/imagebuilder-new. They print `warning: TEXT`, and `unsealed: REASON` where they fail.
set -eu
export LC_ALL=C

sh "$JOB/snapshot" >/tmp/imagebuilder-after
grep -vxF -f "$JOB/before" /tmp/imagebuilder-after >/tmp/imagebuilder-new || :
# log OLDSIZE SIZE PATH: in one go for all of them, since an image may have thousands.
awk '{ path = substr($0, length($1 $2) + 3) }
  FNR == NR { if ($1 == "log") size[path] = $2; next }
  $1 == "log" { print "log", (path in size ? size[path] : 0), $2, path; next }
  { print }' "$JOB/before" /tmp/imagebuilder-new >/tmp/imagebuilder-changes
: >/tmp/imagebuilder-remove
while read -r kind value; do
  case $kind in
    there) printf '%s\0' "$value" >>/tmp/imagebuilder-remove ;;
    log)
      old=${value%% *}
      value=${value#* }
      path=${value#* }
      # Logs that were there keep what they had; those of services keep their file, which may need its owner and mode.
      if [ ! -f "$path" ] || [ "${value%% *}" -le "$old" ]; then continue; fi
      # Not by `:`, which ends the script where the file cannot be opened.
      if [ "$old" = 0 ]; then true >"$path"; else truncate -s "$old" "$path"; fi 2>/dev/null ||
        echo "warning: $path keeps what the build has written into it: the image allows no shorter one (lsattr shows why)"
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
# In one go: each program that is started takes some 40 ms in an emulated vm.
[ ! -s /tmp/imagebuilder-remove ] || xargs -0 rm -rf -- </tmp/imagebuilder-remove 2>/tmp/imagebuilder-kept ||
  head -n 10 /tmp/imagebuilder-kept | sed 's/^/warning: a file of the build stays in the image: /'
