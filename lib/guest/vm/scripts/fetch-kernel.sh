# Fetches the packages of a kernel and of a static busybox for another architecture, as the worker's own apt knows them,
# and unpacks them in the folder `root`. The current folder is ours, with apt.conf in it. $1 package that depends on the kernel.
# apt verifies the archives by the worker's keys; it knows of no installed package here.
set -eu
mkdir -p state/lists/partial cache/archives/partial log none.d root
: >state/status
# Without the lists of one suite, those of the others do, perhaps.
apt-get -qq update 2>update.log || :
kernel=$(apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
if [ -z "$kernel" ]; then
  grep -m 1 'Failed to fetch' update.log >&2 || echo "the archives of this worker have no $1" >&2
  exit 1
fi
apt-get -qq download "$kernel" busybox-static
for archive in ./*.deb; do dpkg-deb --extract "$archive" root; done
if [ ! -d root/lib/modules ]; then
  mkdir -p root/lib
  mv root/usr/lib/modules root/lib/
fi
for folder in root/lib/modules/*; do depmod --basedir root "${folder##*/}"; done
chmod -R a+rX root
rm -rf ./*.deb update.log state cache root/usr/share
