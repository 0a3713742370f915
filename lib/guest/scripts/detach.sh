# Flushes and trims the file systems of the image, on the worker's side of the namespaces.
# $1 path of capabilities.pl, empty where it is not to run; $2 to $4 its arguments; up to -- where the worker has
# mounted the file systems. The image has no say in these paths, unlike in those of its own mount points. Behind the --
# what is to be unmounted then, together with all below it. Standard input has the files that count errors, by their lines.
# Prints `untrimmed: FOLDER` where one cannot be trimmed, and `errors: COUNT`, the sum of these.
set -eu
[ -z "$1" ] || perl "$1" "$2" "$3" "$4"
shift 4
while [ "$1" != -- ]; do
  folder=$1
  shift
  # Without it, fstrim would leave what has been deleted but not yet written. Only this file system: a plain sync waits
  # for every disk of the machine.
  sync --file-system "$folder"
  fstrim "$folder" 2>/dev/null || echo "untrimmed: $folder"
done
shift
errors=0
while read -r file; do
  # Other file systems than ext4 do not have it.
  if [ -e "$file" ] && read -r count <"$file"; then errors=$((errors + count)); fi
done
echo "errors: $errors"
# Lazily: by whatever path the image's own mounts are by now.
[ $# = 0 ] || umount --lazy "$@"
