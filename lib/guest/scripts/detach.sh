# Flushes and trims the file systems of the image, on the worker's side of the namespaces. $1 is the root as it is
# mounted there, the rest are mount points inside.
set -eu
root=$1
shift
for target in "$@"; do
  # Without it, fstrim would leave what has been deleted but not yet written. Only this file system: a plain sync waits
  # for every disk of the machine.
  sync --file-system "$root$target"
  fstrim "$root$target" 2>/dev/null || echo "$target cannot be trimmed"
done
