# Puts the files into the image that it needs while it is being changed; give-back.sh takes them out. Paths end in
# .imagebuilder while they hold the former file.
set -eu

# A file that waits for a writer, or never ends, would keep dpkg and apt waiting: no package has such files.
odd=$(find -L /etc/apt /etc/dpkg /var/lib/apt /var/lib/dpkg \( -type p -o -type c ! -samefile /dev/null \) 2>/dev/null | head -n 1)
if [ -n "$odd" ]; then
  echo "unsupported: $odd in the image is no plain file" >&2
  exit 65
fi

# No service is started (Debian Policy 9.11.3; invoke-rc.d asks).
if [ -d /usr/sbin ]; then
  rm -rf /usr/sbin/policy-rc.d.imagebuilder
  if [ -e /usr/sbin/policy-rc.d ] || [ -L /usr/sbin/policy-rc.d ]; then
    mv /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.imagebuilder
  fi
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi

# Hooks of kernel packages leave the boot loader alone in what they take for a container. Upstart's tool would look
# for an init that is not there. Diversions, so that an upgrade of the packages that own these files works.
mkdir -p /run/imagebuilder-borrowed
[ ! -f /var/lib/dpkg/diversions-old ] || cp -p /var/lib/dpkg/diversions-old /run/imagebuilder-borrowed/
for file in /usr/bin/systemd-detect-virt /sbin/initctl; do
  if [ ! -x "$file" ] || [ -L "$file" ] || ! command -v dpkg-divert >/dev/null; then continue; fi
  said=$(dpkg-divert --quiet --local --rename --divert "$file.imagebuilder" --add "$file" 2>&1) || {
    echo "corrupt: in the image, dpkg-divert fails: $(echo "$said" | head -n 1)" >&2
    exit 65
  }
  case $file in
    */systemd-detect-virt) printf '#!/bin/sh\n[ -n "$*" ] || echo none\nexit 1\n' >"$file" ;;
    *) printf '#!/bin/sh\nexit 0\n' >"$file" ;;
  esac
  chmod 755 "$file"
  echo "$file" >>/run/imagebuilder-borrowed/diverted
done
