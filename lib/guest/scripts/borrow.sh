# Puts into the image what it needs while it is being changed; give-back.sh takes it out again. Paths end in
# .imagebuilder while they hold what was there before. $1 is "resolv.conf" when $JOB holds one.
set -eu

# No service is started (Debian Policy 9.11.3; invoke-rc.d asks).
if [ -d /usr/sbin ]; then
  if [ -e /usr/sbin/policy-rc.d ] || [ -L /usr/sbin/policy-rc.d ]; then
    mv /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.imagebuilder
  fi
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi

# Hooks of kernel packages leave the boot loader alone in what they take for a container. Upstart's tool would look
# for an init that is not there. Diversions, so that an upgrade of the packages that own these files works.
mkdir -p /run/imagebuilder-borrowed
[ ! -e /var/lib/dpkg/diversions-old ] || cp -p /var/lib/dpkg/diversions-old /run/imagebuilder-borrowed/
for file in /usr/bin/systemd-detect-virt /sbin/initctl; do
  [ -x "$file" ] && [ ! -L "$file" ] && command -v dpkg-divert >/dev/null || continue
  dpkg-divert --quiet --local --rename --divert "$file.imagebuilder" --add "$file" >/dev/null
  case $file in
    */systemd-detect-virt) printf '#!/bin/sh\n[ -n "$*" ] || echo none\nexit 1\n' >"$file" ;;
    *) printf '#!/bin/sh\nexit 0\n' >"$file" ;;
  esac
  chmod 755 "$file"
  echo "$file" >>/run/imagebuilder-borrowed/diverted
done

[ "${1-}" = resolv.conf ] || exit 0
case $(readlink /etc/resolv.conf) in
  /run/* | ../run/* | /var/run/* | ../var/run/*)
    # The usual case: /run is ours, and nothing has to be put back.
    target=$(readlink /etc/resolv.conf)
    target=/run/${target#*run/}
    mkdir -p "${target%/*}"
    cat "$JOB/resolv.conf" >"$target"
    ;;
  *)
    # Not mounted over: packages that replace it could not.
    if [ -e /etc/resolv.conf ] || [ -L /etc/resolv.conf ]; then
      mv /etc/resolv.conf /etc/resolv.conf.imagebuilder
    fi
    cat "$JOB/resolv.conf" >/etc/resolv.conf
    cat "$JOB/resolv.conf" >/run/imagebuilder-borrowed/resolv.conf
    ;;
esac
