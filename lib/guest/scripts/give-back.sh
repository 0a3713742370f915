# Takes the files of borrow.sh out of the image. A file that a package has replaced in the meantime stays as the package
# wants it.
set -eu

if [ -f /usr/sbin/policy-rc.d ] && [ "$(cat /usr/sbin/policy-rc.d)" = "$(printf '#!/bin/sh\nexit 101')" ]; then
  rm -f /usr/sbin/policy-rc.d
  if [ -e /usr/sbin/policy-rc.d.imagebuilder ] || [ -L /usr/sbin/policy-rc.d.imagebuilder ]; then
    mv /usr/sbin/policy-rc.d.imagebuilder /usr/sbin/policy-rc.d
  fi
fi
rm -rf /usr/sbin/policy-rc.d.imagebuilder

if [ -f /run/imagebuilder-borrowed/diverted ]; then
  while read -r file; do
    rm -f "$file"
    dpkg-divert --quiet --local --rename --remove "$file" >/dev/null
  done </run/imagebuilder-borrowed/diverted
  # dpkg's copy of the list before the last change names our diversions.
  rm -f /var/lib/dpkg/diversions-old
  [ ! -e /run/imagebuilder-borrowed/diversions-old ] || cp -p /run/imagebuilder-borrowed/diversions-old /var/lib/dpkg/
fi
