# Removes from the image new files that do not belong into an image. $JOB/before is the output of $JOB/snapshot before
# the changes. first-boot.sh and the text that a kind of image adds follow it (SealPart in seal.ts): they read the new lines
# in /tmp/imagebuilder-new, and those that are no more in /tmp/imagebuilder-gone. They print `warning: TEXT`, and `unsealed: REASON` where they fail.
set -eu
export LC_ALL=C

# shellcheck disable=SC2034 # the texts behind snapshot.sh read it
sealing=yes
# shellcheck source=snapshot.sh
(set +eu && . "$JOB/snapshot") >/tmp/imagebuilder-after
# In one go for all lines, since an image may have thousands of logs: the lines that are only in the second one, those that
# are only in the first one, and the former with the old sizes of logs, log OLDSIZE SIZE PATH.
: >/tmp/imagebuilder-new
: >/tmp/imagebuilder-gone
: >/tmp/imagebuilder-changes
awk '
  {
    path = substr($0, length($1 $2) + 3)
  }
  pass == 1 {
    there[$0] = 1
    if ($1 == "log") size[path] = $2
    next
  }
  $0 in there {
    there[$0] = 2
    next
  }
  {
    print >"/tmp/imagebuilder-new"
    if ($1 == "log") $0 = "log " (path in size ? size[path] : 0) " " $2 " " path
    print >"/tmp/imagebuilder-changes"
  }
  END {
    for (line in there) if (there[line] == 1) print line >"/tmp/imagebuilder-gone"
  }' pass=1 "$JOB/before" pass=2 /tmp/imagebuilder-after
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
# In one go: each program that is started takes some 10 ms in an emulated vm.
[ ! -s /tmp/imagebuilder-remove ] || xargs -0 rm -rf -- </tmp/imagebuilder-remove 2>/tmp/imagebuilder-kept ||
  head -n 10 /tmp/imagebuilder-kept | sed 's/^/warning: a file of the build stays in the image: /'
