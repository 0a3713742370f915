# Goes on where snapshot.sh of lib/guest ends, with the state of everything that the image boots by.
# bootstate DIGEST, and bootfile TYPE SIZE CHANGED PATH for each kernel and each initial ramdisk.
boot_files=$(find /boot /efi /vmlinuz /initrd.img /lib/modules/*/modules.dep ! -type d \
  -printf '%y %s %T@,%C@,%i %p %l\n' 2>/dev/null || :)
echo "bootstate $(printf %s "$boot_files" | md5sum)"
printf '%s\n' "$boot_files" | sed -n '/\/\(vmlinu\|initrd\|initramfs\)[^/]* $/s/^/bootfile /p'
