# Takes the files of borrow.sh out of the image. A file that a package has replaced in the meantime stays as the package
# wants it. A program takes some 10 ms to start in an emulated vm, so the shell does by itself what it can, and one call
# serves all files.
set -eu

there() { [ -e "$1" ] || [ -L "$1" ]; }
# Whether $1 holds what $2, one of our scripts, holds. The two are read no further than they are alike.
same() {
  if [ ! -f "$1" ] || [ -L "$1" ]; then return 1; fi
  {
    while IFS= read -r own <&6; do
      IFS= read -r line <&5 || return 1
      [ "$line" = "$own" ] || return 1
    done
    if IFS= read -r line <&5 || [ -n "$line" ]; then return 1; fi
  } 5<"$1" 6<"$2"
}
newline='
'
remove=
diverted=
folders=

borrowed=/run/imagebuilder-borrowed
policy=/usr/sbin/policy-rc.d
printf '#!/bin/sh\nexit 101\n' >/tmp/imagebuilder-policy
if same $policy /tmp/imagebuilder-policy; then
  if there $policy.imagebuilder; then
    rm -f $policy
    mv $policy.imagebuilder $policy
  else
    remove=$policy$newline
  fi
fi
if there $policy.imagebuilder; then rm -rf $policy.imagebuilder; fi

give_back() {
  case $1 in
    lent) remove=$remove$2$newline ;;
    made) folders=$folders$2$newline ;;
    moved)
      if same "$2" "$borrowed/programs/${2##*/}"; then
        rm -f "$2"
        if there "$2.imagebuilder"; then mv "$2.imagebuilder" "$2"; fi
      fi
      remove=$remove$2.imagebuilder$newline
      ;;
    diverted)
      diverted=$diverted$2$newline
      if same "$2" "$borrowed/programs/${2##*/}"; then
        remove=$remove$2$newline
      elif [ -e "$2" ]; then
        mv -f "$2" "$2.imagebuilder"
      fi
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
set -f
IFS=$newline
# shellcheck disable=SC2086 # several paths
[ -z "$remove" ] || rm -f $remove
for path in $diverted; do
  dpkg-divert --quiet --local --rename --remove "$path" >/dev/null
done
# Those stay where a package has put files.
# shellcheck disable=SC2086 # several paths
[ -z "$folders" ] || rmdir $folders 2>/dev/null || :
if [ -n "$diverted" ]; then
  # dpkg's copy of the list before the last change names our diversions.
  if [ -e "$borrowed/diversions-old" ]; then
    cp -pf "$borrowed/diversions-old" /var/lib/dpkg/
  else
    rm -f /var/lib/dpkg/diversions-old
  fi
fi
