# Prints the facts of an image for lib/apt/facts.ts, one per line after its kind, and then the output of packages.sh.
# That and room.sh are in $JOB. Changes nothing.
export LC_ALL=C

# Prints the lines on standard input after the word $1. A program more would take some 10 ms to start in an emulated vm.
each_after() { while IFS= read -r line || [ -n "$line" ]; do printf '%s %s\n' "$1" "$line"; done; }
from_file() { [ -f "$2" ] && head -c 65536 "$2" | each_after "$1"; }

from_file os-release /etc/os-release
from_file lsb-release /etc/lsb-release
from_file debian-version /etc/debian_version
for tool in dpkg dpkg-query apt-get apt-cache; do
  command -v "$tool" >/dev/null 2>&1 || echo "missing $tool"
done
architecture=$(dpkg --print-architecture 2>/dev/null) || dpkg --print-architecture 2>&1 | each_after failing
echo "architecture $architecture"
dpkg --print-foreign-architectures 2>/dev/null | each_after foreign-architecture
# Names of index files hold $(ARCHITECTURE) and the like, which set nothing.
grep -qsiE 'architectures?([[:space:]{:"]|$)' /etc/apt/apt.conf /etc/apt/apt.conf.d/* && echo 'apt-architectures set'
[ -s /etc/ssl/certs/ca-certificates.crt ] && echo 'ca-certificates present'
# dpkg keeps numbered journal files here while it works; some left over mean that it was interrupted.
for file in /var/lib/dpkg/updates/[0-9]*; do
  [ -e "$file" ] && echo 'interrupted dpkg' && break
done
# shellcheck source=room.sh
. "$JOB/room"
# By one script: each runs in namespaces of its own, which take longer to make than the script takes to run.
echo '== packages'
# shellcheck source=packages.sh
. "$JOB/packages"
