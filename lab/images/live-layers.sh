# Makes of a fresh root file system ($1) the lowest layer of live media, and the two above it in the folder $2: standard
# and live, each as an upper directory of an overlay. Runs as mmdebstrap's customize hook, under sh, as root.
set -eu
root=$1
place=$2

kernel=$(cd "$root/boot" && ls -v vmlinuz-* | tail -n 1)
cp "$root/boot/$kernel" "$place/vmlinuz"
cp "$root/boot/initrd.img-${kernel#vmlinuz-}" "$place/initrd"
: >"$root/etc/machine-id"
echo live >"$root/etc/hostname"
mkdir -p "$root/opt/samples/given-up"
echo one >"$root/opt/samples/given-up/one"
echo one >"$root/opt/samples/removed"

# layer NAME LOWER COMMAND: what COMMAND changes in the file tree of the layers LOWER.
layer() {
  mkdir "$place/$1" "$place/work" "$place/view"
  # shellcheck disable=SC2016 # expanded by the shell inside
  unshare --mount sh -euc '
    mount -t overlay -o "lowerdir=$1,upperdir=$2/$3,workdir=$2/work,redirect_dir=off,index=off,metacopy=off" overlay "$2/view"
    for folder in dev proc sys; do mount --rbind "/$folder" "$2/view/$folder"; done
    printf "#!/bin/sh\nexit 101\n" >"$2/view/usr/sbin/policy-rc.d"
    chmod 755 "$2/view/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$2/view/etc/resolv.conf"
    chroot "$2/view" sh -euc "$4"
    rm "$2/view/usr/sbin/policy-rc.d"
  ' layer "$2" "$place" "$1" "$3"
  rm -rf "$place/work" "$place/view"
  # Nothing of how it was made, in the upper directory itself: there it leaves no mark.
  (cd "$place/$1" && rm -rf etc/resolv.conf var/cache var/lib/apt var/log tmp usr/sbin/policy-rc.d)
}
install='apt-get -qy install --no-install-recommends'
layer standard "$root" "$install jq less; rm -r /opt/samples/removed /opt/samples/given-up; mkdir /opt/samples/given-up; echo two >/opt/samples/given-up/two"
layer live "$place/standard:$root" "$install rsync sudo"

: >"$root/etc/apt/sources.list"
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
find "$root/var/log" -type f -exec truncate -s 0 {} +
