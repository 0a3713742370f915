#!/bin/sh
# Lets the group imagebuilder read those kernels in /boot that only root can read: the vm runs the newest one. `--undo`
# gives them back to the group root.
set -eu
for kernel in /boot/vmlinu[xz]-*; do
  if [ ! -f "$kernel" ] || [ -L "$kernel" ]; then continue; fi
  group=$(stat --format=%G "$kernel")
  if [ "${1-}" = --undo ]; then
    [ "$group" != imagebuilder ] || { chmod g-r "$kernel" && chgrp root "$kernel"; }
  else
    # As a number such as 600: the last digit has the rights of everybody else.
    case $group:$(stat --format=%a "$kernel") in
    root:*[0123]) chgrp imagebuilder "$kernel" && chmod g+r "$kernel" ;;
    esac
  fi
done
