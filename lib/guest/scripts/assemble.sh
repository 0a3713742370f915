# Puts together the file tree that scripts see, on the worker's side and before anything of the image has run.
# $1 folder of the guest, which holds: dev jobs root stage/NUMBER (partitions, mounted)
# $2 whose /dev, /proc and /sys scripts see: `own` of a container that each of them gets, or `these`, laid here for all.
#    Containers find their root, /sys, /dev/disk and /proc/cmdline as /dev/root, /dev/sys, /dev/disk and /dev/cmdline here:
#    root inside, which may be a user without rights outside, could not search the folders above the guest's.
# $3 id of the worker that root is to be, if containers have a user namespace; $4 path of idmap.pl then
# Lines on standard input, fields parted by tabs, in this order:
#   node NUMBER MAJOR MINOR LABEL UUID PARTUUID   a partition's device ("-": it has none)
#   open ID NUMBER TYPE OPTIONS                   a mount of a partition
#   opened NUMBER                                 the last of them has been
#   stack ID UPPER LOWER OPTIONS                  an overlay of mounts; LOWER are ids parted by spaces, the top one first
#   mount ID TARGET                               where it appears, the root first
#   again SOURCE TARGET                           a folder of the image that appears in another place
#   bind SOURCE TARGET                            a folder of the worker
# Prints `closed: TARGET` where a folder cannot appear again, `absent: TARGET` where a btrfs has no subvolume for it,
# `unmapped: REASON` where containers cannot have a user namespace, `program: BYTES`, the first bytes, in hexadecimal, of a
# program that every image has, and `hostname: NAME`.
set -eu
cd "$1"
guest=$PWD
whose=$2
first=${3:-}
program=${4:-}

# Nothing is mounted on a path that the image could bend: every part of it must be a folder, none a link. With `make` as
# $2, missing ones are made, as systemd does for mount points, and apt for its own folders: by the image's root, whom an id map may know by another id.
inside() {
  path=$guest/root
  set -f; IFS=/
  for part in $1; do
    [ -n "$part" ] || continue
    parent=$path
    path=$path/$part
    # From within the parent: that user may be unable to pass the folders above.
    if [ "${2:-}" = make ] && [ ! -e "$path" ] && [ ! -L "$path" ]; then (cd "$parent" && as_root mkdir -m 755 "./$part"); fi
    if [ -L "$path" ] || [ ! -d "$path" ]; then
      echo "unsupported: $1 in the image is no folder, or reached through a link; make it a folder there, and its parents too" >&2
      exit 65
    fi
  done
  unset IFS; set +f
}

as_root() {
  if [ -n "$first" ]; then setpriv --reuid "$first" --regid "$first" --clear-groups -- "$@"; else "$@"; fi
}

# The devices of this guest, in place of the worker's: a partition's device has the same name inside as in the mount
# table, which is where grub-probe looks. The name must not look like a loop device, of which GRUB wants the file behind
# it, nor like a partition, of which it wants the disk.
mount -t tmpfs -o mode=755,nosuid,size=64m dev dev
# Containers get their own terminals, shared memory and links.
own='dev/root dev/sys'
[ "$whose" = own ] || own='dev/pts dev/shm'
# shellcheck disable=SC2086 # several words
mkdir dev/disk dev/disk/by-label dev/disk/by-uuid dev/disk/by-partuuid $own
while read -r name minor major; do
  mknod -m 666 "dev/$name" c "$major" "$minor"
done <<END
null 3 1
zero 5 1
full 7 1
random 8 1
urandom 9 1
tty 0 5
END
if [ "$whose" = these ]; then
  chmod 1777 dev/shm
  ln -s /proc/self/fd dev/fd
  ln -s fd/0 dev/stdin
  ln -s fd/1 dev/stdout
  ln -s fd/2 dev/stderr
  ln -s pts/ptmx dev/ptmx
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
fi
mount --rbind dev /dev

# With all of the image's mounts, or with none: on one without it, files of root would have no known owner inside.
mapped=
map() {
  if [ -n "$mapped" ] || [ -z "$first" ]; then return 0; fi
  mapped=yes
  # shellcheck disable=SC2086 # several arguments; the paths are ours
  reason=$(perl "$program" "$first" $opened 2>&1 </dev/null) || { echo "unmapped: $reason" && first=; }
}

# $2 shows the folder $1, with the mount options $3. busybox's mount, which is that of the vm, ignores them in the first call.
bound() {
  if [ "$whose" = own ]; then
    mount -o "bind,$3" "$1" "$2"
  else
    mount --bind "$1" "$2"
    mount -o "remount,bind,$3" "$2"
  fi
}

tab=$(printf '\t')
roots() {
  # Copies of machines often lack these. systemd makes the others, and leaves their modes to what it mounts there.
  if [ ! -e root/tmp ] && [ ! -L root/tmp ]; then (cd root && as_root mkdir -m 1777 ./tmp); fi
  for folder in proc sys run dev tmp; do inside "/$folder" make; done
  [ "$whose" = own ] || kernel_folders
  owner=${first:-0}
  mount -t tmpfs -o "mode=1777,nosuid,nodev,uid=$owner,gid=$owner" tmp root/tmp
  mount -t tmpfs -o "mode=755,nosuid,nodev,uid=$owner,gid=$owner" run root/run
  mkdir -m 1777 root/run/lock
  mkdir root/run/imagebuilder
  ln -s /dev/shm root/run/shm
  [ -z "$first" ] || chown -h "$first:$first" dev/image* root/run/*
  # Read-only: the worker writes here, and must not meet a link that the image has put.
  bound jobs root/run/imagebuilder ro,nosuid,nodev
}
kernel_folders() {
  mount -t proc -o nosuid,nodev,noexec proc root/proc
  # Settings of the kernel belong to the worker.
  for path in sys irq bus sysrq-trigger; do
    [ -e "root/proc/$path" ] || continue
    mount --bind "root/proc/$path" "root/proc/$path"
    mount -o remount,bind,ro "root/proc/$path"
  done
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs root/sys
  # The machine's kernel command line, swap and disks decide nothing in the image.
  mount --bind "$guest/cmdline" root/proc/cmdline
  for path in swaps mdstat; do
    [ ! -e "root/proc/$path" ] || mount --bind /dev/null "root/proc/$path"
  done
  # EFI variables, and the ids of the mainboard, too.
  for path in firmware devices/virtual/dmi; do
    [ ! -d "root/sys/$path" ] || mount -t tmpfs -o ro,size=0 none "root/sys/$path"
  done
  mount --rbind dev root/dev
}

show() {
  mkdir "$2"
  bound "$1" "$2" ro,nosuid,nodev,noexec
}

no_overlay() {
  echo 'unsupported: this kernel cannot lay the layers of the image one above the other (overlay); the guest vm brings its own' >&2
  exit 65
}

opened=
absent=
changes=
mounted_root=
cmdline=
while IFS=$tab read -r kind one two three four five six; do
  if [ "$kind" = bind ] && [ -z "$mounted_root" ]; then exit 70; fi
  case $kind in
    node)
      mknod -m 660 "dev/image$one" b "$two" "$three"
      [ "$four" = - ] || ln -s "../../image$one" "dev/disk/by-label/$four"
      [ "$five" = - ] || ln -s "../../image$one" "dev/disk/by-uuid/$five"
      [ "$six" = - ] || ln -s "../../image$one" "dev/disk/by-partuuid/$six"
      # The root is the first. By this line some hooks of kernels know what to boot.
      [ -n "$cmdline" ] || cmdline=$([ "$five" = - ] && echo ro || echo "root=UUID=$five ro")
      ;;
    open)
      mkdir -p "open/$one"
      if said=$(mount -t "$three" -o "$four" "/dev/image$two" "open/$one" 2>&1); then
        opened="$opened open/$one"
      else
        # A subvolume of a file system that is open already, and that only the image's own fstab knows.
        case "$one $four $said" in
          [1-9]*subvol*'No such file'*) absent="$absent $one " ;;
          *) echo "$said" >&2 && exit 32 ;;
        esac
      fi
      ;;
    opened)
      # By this one the worker reaches the file system afterwards, whatever the image has made of the path of the other.
      [ "$whose" = own ] || umount "stage/$one"
      ;;
    stack)
      # Relative paths, since a path of the worker may have a comma. The upper folder is made before the id map, unless an
      # earlier guest has left its changes there.
      mkdir -p "open/$two/upper" "open/$two/work"
      mkdir "open/$one"
      map
      below=
      for id in $three; do below=$below${below:+:}open/$id; done
      options=$four,lowerdir=$below,upperdir=open/$two/upper,workdir=open/$two/work
      if [ -n "$first" ]; then
        perl "${program%/*}/overlay.pl" "$first" "open/$one" "$options" || no_overlay
      else
        mount -t overlay -o "noatime,nodev,$options" overlay "open/$one" || no_overlay
      fi
      changes=open/$two/upper
      # These devices are none that the image's own boot would have.
      [ "$whose" = own ] || rm -f dev/image*
      ;;
    mount)
      map
      case $absent in *" $one "*) echo "absent: $two" && continue ;; esac
      inside "$two" make
      # -n: mount(8) would note a move in /run, which may be read-only.
      mount -n --move "open/$one" "root$two"
      [ -n "$mounted_root" ] || { mounted_root=yes; echo "$cmdline" >cmdline; roots; }
      # Scripts of the worker search it for changes, and need not go through all that the layers have.
      if [ -n "$changes" ]; then
        show "$changes" root/run/imagebuilder-changes
        changes=
      fi
      ;;
    again)
      # Both may be files, which no builder needs to see twice.
      if (inside "$one" make && inside "$two" make) 2>/dev/null; then mount --bind "root$one" "root$two"; else echo "closed: $two"; fi
      ;;
    bind)
      # Minimised images lack apt's folders; apt makes them like this.
      inside "$two" make
      bound "$one" "root$two" nosuid,nodev
      ;;
  esac
done

# The image has run nothing yet, so these paths cannot change in between.
for name in dpkg env; do
  path=root/usr/bin/$name
  if [ -z "$mounted_root" ] || [ -L root/usr ] || [ -L root/usr/bin ] || [ -L "$path" ] || [ ! -f "$path" ]; then continue; fi
  # shellcheck disable=SC2046 # its lines become one
  echo program: $(od -A n -t x1 -N 20 "$path")
  break
done

# The first line that is no comment. A name that no machine can have counts for nothing, and a link
# is not followed, since from here it would lead out of the image.
hostname=
if [ ! -L root/etc ] && [ ! -L root/etc/hostname ] && [ -f root/etc/hostname ]; then
  head -c 4096 root/etc/hostname >name
  while read -r hostname || [ -n "$hostname" ]; do
    case $hostname in '' | '#'*) ;; *) break ;; esac
  done <name
fi
case $hostname in
  '' | *[!A-Za-z0-9.-]* | .* | -* | *..* | *. | *-) hostname=localhost ;;
esac
[ ${#hostname} -le 64 ] || hostname=localhost
echo "hostname: $hostname"

if [ "$whose" = own ]; then
  map
  echo "$cmdline" >/dev/cmdline
  mount --rbind root /dev/root
  # The /sys of the guest's network. A user namespace that does not own the network could not mount it.
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs /dev/sys
fi

# The image's own name, and nothing of the worker's.
echo "$hostname" >/proc/sys/kernel/hostname || :
