# Goes on where borrow.sh of lib/guest ends, with the programs of the boot loader.
# The partitions are disks of their own here: nothing is the disk that a BIOS boots from, and GRUB sees no partition
# table. What grub-install would make of that does not boot, or it fails.
divert /usr/sbin/grub-install <<'END'
#!/bin/sh
# Stands in for grub-install while the image is being changed.
real=/usr/sbin/grub-install.imagebuilder
if [ ! -x "$real" ]; then
  echo 'grub-install: not found' >&2
  exit 127
fi
target='' folder='' expected=''
for argument; do
  case $expected in
    target) target=$argument ;;
    folder) folder=$argument ;;
  esac
  expected=
  case $argument in
    --target=*) target=${argument#*=} ;;
    --target) expected=target ;;
    --efi-directory=*) folder=${argument#*=} ;;
    --efi-directory) expected=folder ;;
    --help | --usage | --version | -'?' | -V) exec "$real" "$@" ;;
  esac
done
if [ -z "$target" ]; then
  # Its own default depends on the firmware of the machine that it runs on.
  for one in /usr/lib/grub/*-efi/modinfo.sh /usr/lib/grub/i386-pc/modinfo.sh; do
    [ ! -e "$one" ] || target=${one%/*}
  done
  target=${target##*/}
fi
case $target in
  *-efi) ;;
  *-xen | *-xen_pvh) exec "$real" "$@" ;;
  *)
    echo "grub-install is left out for ${target:-this machine}: the disk is not here. The boot loader stays as it is." >&2
    echo "left ${target:-unknown}" >>/run/imagebuilder-borrowed/grub-install
    exit 0
    ;;
esac
# Where it looks by itself, if it is not given the folder.
found=
while read -r _device path type _rest; do
  case $type in vfat | msdos) ;; *) continue ;; esac
  if [ -z "$folder" ]; then
    case $path in /boot/efi | /boot/EFI | /boot) found=yes ;; esac
  elif [ "$path" = "${folder%/}" ]; then found=yes; fi
done </proc/self/mounts
if [ -z "$found" ]; then
  echo "grub-install is left out for $target: the EFI system partition is not open here. The boot loader stays as it is." >&2
  echo "closed $target" >>/run/imagebuilder-borrowed/grub-install
  exit 0
fi
exec "$real" --modules='part_gpt part_msdos' --no-nvram "$@"
END

# It looks for its disk before it calls grub-install, and fails where there is none.
echo grub-pc >>/run/imagebuilder-borrowed/in-container

# Other systems are on the worker's disks, if anywhere. Where these are installed only now, they can open no disk.
for program in os-prober linux-boot-prober; do
  [ -e "/usr/bin/$program" ] || continue
  divert "/usr/bin/$program" <<'END'
#!/bin/sh
exit 0
END
done
