# Writes the files that $JOB/paths names, each with a zero byte behind it, to file descriptor 4: as a tar, in this order.
# ACLs are among the attributes, in numbers: with --acls, GNU tar would name the users and groups of its machine.
set -eu
cd /
exec tar --create --file=- --format=pax --pax-option=delete=atime,delete=ctime --blocking-factor=256 --numeric-owner \
  --xattrs '--xattrs-include=*' --warning=no-file-ignored \
  --no-recursion --null --files-from="$JOB/paths" >&4
