# Flushes and trims the file systems of the image, on the worker's side of the namespaces.
# $1 path of capabilities.pl, empty where it is not to run; $2 to $4 its arguments; up to -- where the worker has
# mounted the file systems. The image has no say in these paths, unlike in those of its own mount points. Behind the --
# what is to be unmounted then, together with all below it. Standard input has the files that count errors, by their lines.
# Prints `untrimmed: FOLDER` where one cannot be trimmed, and `errors: COUNT` for each of these that is there.
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
while read -r file; do
  if read -r count <"$file"; then echo "errors: $count"; fi 2>/dev/null
done
# Lazily: by whatever path the image's own mounts are by now.
[ $# = 0 ] || umount --lazy "$@"
