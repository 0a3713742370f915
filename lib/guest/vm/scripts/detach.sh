# Ends all processes inside the image, flushes, trims and unmounts it. $@ are its mount points, the root first.
# Prints `untrimmed TARGET` and `errors COUNT`.
set -u
read -r process </guest/process
kill -KILL "$process"
for target in "$@"; do
  # Without it, fstrim would leave what has been deleted but not yet written.
  sync
  fstrim "/guest/root$target" 2>/dev/null || echo "untrimmed $target"
done
errors=0
for file in /sys/fs/ext4/*/errors_count; do
  [ ! -e "$file" ] || { read -r count <"$file" && errors=$((errors + count)); }
done
echo "errors $errors"

# This script lies where scripts inside the image would find it.
mount --make-rprivate /
# The latest first; a second time for mounts that ending processes still used.
tries=0
while [ $tries -lt 100 ]; do
  targets=
  while read -r _id _parent _device _root target _rest; do
    case $target in /guest/root | /guest/root/*) targets="$target $targets" ;; esac
  done </proc/self/mountinfo
  [ -n "$targets" ] || exit 0
  for target in $targets; do umount "$(printf %b "$target")" 2>/dev/null; done
  tries=$((tries + 1))
  sleep 0.05
done
echo "still mounted: $targets" >&2
exit 1
