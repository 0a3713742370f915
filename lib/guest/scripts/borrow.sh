# Puts the files into the image that it needs while it is being changed; give-back.sh takes them out. Paths end in
# .imagebuilder while they hold the former file. The text that a kind of image adds follows it (`loans` in guest.ts), and
# `lent` ends it. A program takes some 10 ms to start in an emulated vm, so the shell does by itself what it can.
# $1 the second, since 1970, in which an earlier build has begun the changes; missing where the image has none
set -eu
since=${1:-}

# A file that waits for a writer, or never ends, would keep dpkg and apt waiting: no package has such files. The first look
# is at names alone, of which there are hundreds; it fails where a folder is missing, or find is not GNU's.
set -- /etc/apt /etc/dpkg /var/lib/apt /var/lib/dpkg
odd=
found=$(find "$@" ! -type d ! -type f ! -xtype f -print -quit 2>/dev/null) || found=failed
[ -z "$found" ] || odd=$(find -L "$@" \( -type p -o -type c ! -samefile /dev/null \) -print -quit 2>/dev/null || :)
if [ -n "$odd" ]; then
  echo "unsupported: $odd in the image is no plain file" >&2
  exit 65
fi

there() { [ -e "$1" ] || [ -L "$1" ]; }
set_aside() {
  if there "$1.imagebuilder"; then rm -rf "$1.imagebuilder"; fi
  if there "$1"; then mv "$1" "$1.imagebuilder"; fi
}
copy() { while IFS= read -r line; do printf '%s\n' "$line"; done; }

programs=
# No service is started (Debian Policy 9.11.3; invoke-rc.d asks).
if [ -d /usr/sbin ]; then
  set_aside /usr/sbin/policy-rc.d
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  programs=/usr/sbin/policy-rc.d
fi

# Lines of its file `list`, for give-back.sh: `diverted PROGRAM`, `moved PROGRAM`, `lent FILE`, `made FOLDER`.
borrowed=/run/imagebuilder-borrowed
mkdir -p "$borrowed/programs"
# The build's own files are newer than this one.
if [ -z "$since" ]; then : >"$borrowed/opened"; else touch -d "@$since" "$borrowed/opened"; fi
[ ! -f /var/lib/dpkg/diversions-old ] || cp -p /var/lib/dpkg/diversions-old "$borrowed/"
diverted=
! command -v dpkg-divert >/dev/null || diverted=yes
newline='
'
diversions=$newline$([ ! -f /var/lib/dpkg/diversions ] || copy </var/lib/dpkg/diversions)$newline

# divert PROGRAM: the script on standard input takes its place. By a diversion, so that the package that owns the program
# can be installed, upgraded and removed meanwhile. A program that the image diverts itself is moved: no package but the
# one that diverts it has a file there.
divert() {
  copy >"$borrowed/programs/${1##*/}"
  if [ -z "$diverted" ] || [ ! -d "${1%/*}" ]; then return 0; fi
  case $diversions in
    *"$newline$1$newline"*)
      set_aside "$1"
      echo "moved $1" >>"$borrowed/list"
      ;;
    *)
      said=$(dpkg-divert --quiet --local --rename --divert "$1.imagebuilder" --add "$1" 2>&1) || {
        echo "corrupt: in the image, dpkg-divert fails: ${said%%"$newline"*}" >&2
        exit 65
      }
      echo "diverted $1" >>"$borrowed/list"
      ;;
  esac
  copy <"$borrowed/programs/${1##*/}" >"$1"
  programs="$programs $1"
}
lent() {
  # shellcheck disable=SC2086 # the paths are ours
  [ -z "$programs" ] || chmod 755 $programs
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
  if there "$1"; then rm -rf "$1"; fi
  copy >"$1"
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

# $1 is diverted, to a program that does nothing.
silence() {
  if [ ! -x "$1" ] || [ -L "$1" ]; then return 0; fi
  divert "$1" <<'END'
#!/bin/sh
exit 0
END
}
# Upstart's tool, with its names `start` and the like, would look for an init that is not there.
silence /sbin/initctl
# Scripts of init.d, which `service` runs without asking, start their programs by this one. dpkg owns it by one of two names.
daemons=/sbin/start-stop-daemon
if [ -L /sbin ] && grep -qxF "/usr$daemons" /var/lib/dpkg/info/dpkg.list 2>/dev/null; then daemons=/usr$daemons; fi
silence "$daemons"
