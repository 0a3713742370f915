# Flushes and trims the file systems of the image, on the worker's side of the namespaces.
# $1 path of capabilities.pl, empty where it is not to run; $2 to $4 its arguments; the others are where the worker has
# mounted the file systems. The image has no say in these paths, unlike in those of its own mount points.
set -eu
[ -z "$1" ] || perl "$1" "$2" "$3" "$4"
shift 4
for folder; do
  # Without it, fstrim would leave what has been deleted but not yet written. Only this file system: a plain sync waits
  # for every disk of the machine.
  sync --file-system "$folder"
  fstrim "$folder" 2>/dev/null || echo "$folder cannot be trimmed"
done
