# Goes on where snapshot.sh of lib/guest ends, with the state of everything that the image boots by.
# bootfile TYPE SIZE CHANGED PATH TARGET.
find /boot /efi /vmlinuz /initrd.img /lib/modules/*/modules.dep ! -type d -printf 'bootfile %y %s %T@,%C@,%i %p %l\n' \
  2>/dev/null || :
