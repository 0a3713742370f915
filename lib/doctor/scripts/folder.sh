# Says what a folder is like, one "key value" a line. $1 is the folder, which may not be there yet: then it is about the
# nearest one above it that is, where it would be made.
set -u
path=$1
while [ ! -e "$path" ] && [ "$path" != / ]; do path=$(dirname -- "$path"); done
echo "existing $path"
stat --file-system --format 'free %a %S
total %b %S' -- "$path"
# A file that is really written: rights, read-only mounts, quotas and a file system without room all show in that.
if reason=$({
  file=$(mktemp --tmpdir="$path" .imagebuilder-doctor-XXXXXX) || exit
  head -c 4096 /dev/zero >"$file"
  code=$?
  rm -f -- "$file"
  exit "$code"
} 2>&1); then
  echo 'writable yes'
else
  echo "writable $(echo "$reason" | tail -n 1)"
fi
