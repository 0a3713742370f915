# Finishes the root file system at $1, whose packages mmdebstrap has unpacked and not configured: no program of it has run.
set -eu
cd "$1"
mkdir -p var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers
for archive in var/cache/apt/archives/*.deb; do
  # The notes of dpkg about a package that is installed.
  dpkg-deb --field "$archive" | sed '1a Status: install ok installed'
  echo
  name=$(dpkg-deb --field "$archive" Package)
  [ "$(dpkg-deb --field "$archive" Multi-Arch)" != same ] || name=$name:$(dpkg-deb --field "$archive" Architecture)
  dpkg-deb --fsys-tarfile "$archive" | tar -t | sed 's,^\./$,/.,; s,^\.,,; s,/$,,' >"var/lib/dpkg/info/$name.list"
done >var/lib/dpkg/status
: >var/lib/dpkg/available
# The work of the scripts of base-passwd, base-files and mawk, which have not run.
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
ln -s mawk usr/bin/awk
mkdir -p root var/log
chmod 700 root

# Files of all sorts, as published images have them.
mkdir -p opt/things/folder 'opt/things/with space'
cd opt/things
cp ../../usr/bin/env capable
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 capable
printf kept >kept
setfattr -n user.colour -v green kept
chown 12345:54321 kept
cp ../../usr/bin/env privileged
chmod 4755 privileged
printf 'one file' >link-1
ln link-1 link-2
ln -s ../things/link-1 symbolic
printf removed >removed
printf old >folder/old
printf quoted >'with space/"quoted" $x'
printf umlaut >"$(printf 'ü \351')"
mkfifo pipe
