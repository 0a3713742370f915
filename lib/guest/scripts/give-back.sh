# Takes the files of borrow.sh out of the image. A file that a package has replaced in the meantime stays as the package
# wants it.
set -eu

there() { [ -e "$1" ] || [ -L "$1" ]; }
# Whether $1 holds what $2 holds. The first way starts one program where the second starts two, but not every image has it.
same() {
  if [ ! -f "$1" ] || [ -L "$1" ]; then return 1; fi
  if command -v cmp >/dev/null; then cmp -s "$1" "$2"; else [ "$(cat "$1")" = "$(cat "$2")" ]; fi
}

borrowed=/run/imagebuilder-borrowed
printf '#!/bin/sh\nexit 101\n' >/tmp/imagebuilder-policy
if same /usr/sbin/policy-rc.d /tmp/imagebuilder-policy; then
  rm -f /usr/sbin/policy-rc.d
  if there /usr/sbin/policy-rc.d.imagebuilder; then mv /usr/sbin/policy-rc.d.imagebuilder /usr/sbin/policy-rc.d; fi
fi
if there /usr/sbin/policy-rc.d.imagebuilder; then rm -rf /usr/sbin/policy-rc.d.imagebuilder; fi

diversions=
give_back() {
  case $1 in
    lent) rm -f "$2" ;;
    # Stays where a package has put files there.
    made) rmdir "$2" 2>/dev/null || : ;;
    moved)
      if same "$2" "$borrowed/programs/${2##*/}"; then
        rm -f "$2"
        if there "$2.imagebuilder"; then mv "$2.imagebuilder" "$2"; fi
      fi
      rm -f "$2.imagebuilder"
      ;;
    diverted)
      diversions=yes
      if same "$2" "$borrowed/programs/${2##*/}"; then
        rm -f "$2"
      elif [ -e "$2" ]; then
        mv -f "$2" "$2.imagebuilder"
      fi
      dpkg-divert --quiet --local --rename --remove "$2" >/dev/null
      ;;
  esac
}
if [ -f "$borrowed/list" ]; then
  # The newest first. borrow.sh writes fewer than 100 lines; a package may have written more.
  set --
  while [ $# -lt 200 ] && read -r how path; do set -- "$how" "$path" "$@"; done <"$borrowed/list"
  while [ $# -gt 0 ]; do
    give_back "$1" "$2"
    shift 2
  done
fi
if [ -n "$diversions" ]; then
  # dpkg's copy of the list before the last change names our diversions.
  if [ -e "$borrowed/diversions-old" ]; then
    cp -pf "$borrowed/diversions-old" /var/lib/dpkg/
  else
    rm -f /var/lib/dpkg/diversions-old
  fi
fi
