# Describes a folder, one "key value" a line. $1 is the folder, which may not be there yet: then it describes the
# nearest existing folder above it, in which it would be made.
set -u
path=$1
while [ ! -e "$path" ] && [ ! -L "$path" ] && [ "$path" != / ]; do path=$(dirname -- "$path"); done
echo "existing $path"
place=$path
[ -e "$path" ] || place=$(dirname -- "$path")
stat --file-system --format 'free %a %S
total %b %S' -- "$place"
# A link can lead nowhere, and a folder cannot be made where it leads to.
if [ -L "$path" ] && [ ! -e "$path" ]; then
  echo "writable $path: it is a link to nothing"
  exit
fi
if [ ! -d "$path" ]; then
  echo "writable $path: it is no folder"
  exit
fi
# Really writes a file: missing rights, read-only mounts, quotas and a full file system all make it fail.
if reason=$({
  file=$(mktemp --tmpdir="$path" .imagebuilder-doctor-XXXXXX) || exit
  exec 3>"$file"
  # At once, so that nobody who lists the folder meets it, and nothing is left of a process that is killed.
  rm -f -- "$file"
  head -c 4096 /dev/zero >&3
} 2>&1); then
  echo 'writable yes'
else
  echo "writable $(echo "$reason" | tail -n 1)"
fi
