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

borrowed=/run/imagebuilder-borrowed
# Whether $1 is a program of borrow.sh still.
ours() {
  [ -f "$1" ] && [ ! -L "$1" ] && [ "$(cat "$1")" = "$(cat "$borrowed/programs/${1##*/}")" ]
}

diversions=
if [ -f "$borrowed/list" ]; then
  # The newest first.
  tac "$borrowed/list" >"$borrowed/reversed"
  while read -r how path; do
    case $how in
      lent) rm -f "$path" ;;
      # Stays where a package has put files there.
      made) rmdir "$path" 2>/dev/null || : ;;
      moved)
        if ours "$path"; then
          rm -f "$path"
          if [ -e "$path.imagebuilder" ] || [ -L "$path.imagebuilder" ]; then mv "$path.imagebuilder" "$path"; fi
        fi
        rm -f "$path.imagebuilder"
        ;;
      diverted)
        diversions=yes
        if ours "$path"; then rm -f "$path"; elif [ -e "$path" ]; then mv -f "$path" "$path.imagebuilder"; fi
        dpkg-divert --quiet --local --rename --remove "$path" >/dev/null
        ;;
    esac
  done <"$borrowed/reversed"
fi
if [ -n "$diversions" ]; then
  # dpkg's copy of the list before the last change names our diversions.
  rm -f /var/lib/dpkg/diversions-old
  [ ! -e "$borrowed/diversions-old" ] || cp -p "$borrowed/diversions-old" /var/lib/dpkg/
fi
