# Writes the files that $JOB/paths names, each with a zero byte behind it, to file descriptor 4: as a tar, in this order.
set -eu
cd /
exec tar --create --file=- --format=pax --pax-option=delete=atime,delete=ctime --blocking-factor=256 --numeric-owner \
  --xattrs '--xattrs-include=*' '--xattrs-exclude=system.*' --acls --warning=no-file-ignored \
  --no-recursion --null --files-from="$JOB/paths" >&4
