# Flushes and trims the file systems of the image, on the worker's side of the namespaces. $@ are where the worker has
# mounted them. The image has no say in these paths, unlike in those of its own mount points.
set -eu
for folder in "$@"; do
  # Without it, fstrim would leave what has been deleted but not yet written. Only this file system: a plain sync waits
  # for every disk of the machine.
  sync --file-system "$folder"
  fstrim "$folder" 2>/dev/null || echo "$folder cannot be trimmed"
done
