# Puts the files into the image that it needs while it is being changed; give-back.sh takes them out. Paths end in
# .imagebuilder while they hold the former file. The text that a kind of image adds follows it (`loans` in guest.ts).
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

# Lines of its file `list`, for give-back.sh: `diverted PROGRAM`, `moved PROGRAM`, `lent FILE`, `made FOLDER`.
borrowed=/run/imagebuilder-borrowed
mkdir -p "$borrowed/programs"
# The build's own files are newer than this one.
: >"$borrowed/opened"
[ ! -f /var/lib/dpkg/diversions-old ] || cp -p /var/lib/dpkg/diversions-old "$borrowed/"
diverted=
! command -v dpkg-divert >/dev/null || diverted=yes

# divert PROGRAM: the script on standard input takes its place. By a diversion, so that the package that owns the program
# can be installed, upgraded and removed meanwhile. A program that the image diverts itself is moved: no package but the
# one that diverts it has a file there.
divert() {
  cat >"$borrowed/programs/${1##*/}"
  if [ -z "$diverted" ] || [ ! -d "${1%/*}" ]; then return 0; fi
  if grep -qxF "$1" /var/lib/dpkg/diversions 2>/dev/null; then
    rm -rf "$1.imagebuilder"
    if [ -e "$1" ] || [ -L "$1" ]; then mv "$1" "$1.imagebuilder"; fi
    echo "moved $1" >>"$borrowed/list"
  else
    said=$(dpkg-divert --quiet --local --rename --divert "$1.imagebuilder" --add "$1" 2>&1) || {
      echo "corrupt: in the image, dpkg-divert fails: $(echo "$said" | head -n 1)" >&2
      exit 65
    }
    echo "diverted $1" >>"$borrowed/list"
  fi
  cat "$borrowed/programs/${1##*/}" >"$1"
  chmod 755 "$1"
}

make() {
  if [ -d "$1" ]; then return 0; fi
  make "${1%/*}"
  mkdir "$1"
  echo "made $1" >>"$borrowed/list"
}

# lend FILE: a new file with the text on standard input.
lend() {
  make "${1%/*}"
  rm -rf "$1"
  cat >"$1"
  echo "lent $1" >>"$borrowed/list"
}

# Hooks of kernel packages leave the boot loader alone in what they take for a container. The scripts of packages that
# the file in-container names are to do just that.
divert /usr/bin/systemd-detect-virt <<'END'
#!/bin/sh
if [ -n "${DPKG_MAINTSCRIPT_PACKAGE-}" ] &&
  grep -qxF "$DPKG_MAINTSCRIPT_PACKAGE" /run/imagebuilder-borrowed/in-container 2>/dev/null; then
  [ -n "$*" ] || echo container-other
  exit 0
fi
[ -n "$*" ] || echo none
exit 1
END

# Upstart's tool would look for an init that is not there.
if [ -x /sbin/initctl ] && [ ! -L /sbin/initctl ]; then
  divert /sbin/initctl <<'END'
#!/bin/sh
exit 0
END
fi
