# Turns a fresh root file system ($1) into that of a cloud image. Runs as mmdebstrap's customize hook, under sh.
# Environment: IMAGE_ROOT_UUID, IMAGE_BOOT_UUID (empty when /boot is not a file system of its own), IMAGE_DISTRIBUTION.
set -eu
root=$1

# --- what a cloud image says of itself
{
  echo 'LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1'
  [ -z "$IMAGE_BOOT_UUID" ] || echo 'LABEL=BOOT /boot ext4 defaults 0 2'
  echo 'LABEL=UEFI /boot/efi vfat umask=0077,nofail 0 1'
} >"$root/etc/fstab"
echo "$IMAGE_DISTRIBUTION" >"$root/etc/hostname"
printf '127.0.0.1 localhost\n\n::1 ip6-localhost ip6-loopback\nfe00::0 ip6-localnet\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n' \
  >"$root/etc/hosts"
ln -sfn ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

# --- cloud-init: the data sources of clouds and of a local seed; no locale is generated, C.UTF-8 is there
echo 'datasource_list: [ NoCloud, ConfigDrive, OpenStack, Ec2, None ]' >"$root/etc/cloud/cloud.cfg.d/90_dpkg.cfg"
echo 'locale: false' >"$root/etc/cloud/cloud.cfg.d/91_locale.cfg"

# --- grub: settings for every later update-grub, and what grub-install would have put under /boot/grub
mkdir -p "$root/boot/efi" "$root/boot/grub/i386-pc" "$root/boot/grub/x86_64-efi" "$root/etc/default/grub.d"
cat >"$root/etc/default/grub.d/50-cloudimg-settings.cfg" <<'GRUB'
GRUB_RECORDFAIL_TIMEOUT=0
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0"
GRUB_TERMINAL=console
GRUB_DISABLE_OS_PROBER=true
GRUB
for platform in i386-pc x86_64-efi; do
  cp "$root/usr/lib/grub/$platform/"*.mod "$root/usr/lib/grub/$platform/"*.lst "$root/boot/grub/$platform/"
done
chroot "$root" grub-editenv /boot/grub/grubenv create

if [ -n "$IMAGE_BOOT_UUID" ]; then grub_uuid=$IMAGE_BOOT_UUID boot='' prefix=/grub
else grub_uuid=$IMAGE_ROOT_UUID boot=/boot prefix=/boot/grub; fi
printf 'search.fs_uuid %s root\nset prefix=($root)%s\n' "$grub_uuid" "$prefix" >"$root/tmp/early.cfg"
modules='part_gpt ext2 search search_fs_uuid normal configfile'
chroot "$root" grub-mkimage -O i386-pc -c /tmp/early.cfg -p "$prefix" -o /boot/grub/i386-pc/core.img biosdisk $modules
chroot "$root" grub-mkimage -O x86_64-efi -c /tmp/early.cfg -p "$prefix" -o /boot/grub/x86_64-efi/core.efi fat $modules
rm "$root/tmp/early.cfg"
cp "$root/usr/lib/grub/i386-pc/boot.img" "$root/boot/grub/i386-pc/"

# grub-mkconfig cannot ask for the devices of a root that has none yet, so the first menu is written here.
kernel=$(cd "$root/boot" && ls -v vmlinuz-* | tail -n 1)
version=${kernel#vmlinuz-}
cat >"$root/boot/grub/grub.cfg" <<GRUB
set timeout=0
insmod part_gpt
insmod ext2
search --no-floppy --fs-uuid --set=root $grub_uuid
menuentry 'Linux $version' {
  linux $boot/vmlinuz-$version root=LABEL=cloudimg-rootfs ro console=tty1 console=ttyS0
  initrd $boot/initrd.img-$version
}
GRUB

# --- no identity, and nothing of how it was made
: >"$root/etc/machine-id"
rm -f "$root/etc/ssh/ssh_host_"* "$root/var/lib/systemd/random-seed" "$root/var/lib/dbus/machine-id" \
  "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
find "$root/var/log" -type f -exec truncate -s 0 {} +
