# Looks at a file system of the image, before anything of the image runs, for what says that it is a root, and for what
# its boot would mount. No link is followed: from here, it would lead to other files than the image's.
# $1 folder where it is mounted, $2 its type
# Prints for each system that it holds `system SUBVOLUME` (empty: what the mount shows) and then
#   has SIGN             a sign of a root, see look.ts
#   bad REASON           it cannot be the root
#   folder NAME STATE    `empty` or `full`; missing folders are left out
#   fstab LINE, machine-id ID, unit NAME (a mount unit that is enabled), line LINE (of that unit)
#   flags ROOTFLAGS      of a kernel command line
#   manual               the image keeps systemd from mounting partitions by their types
set -eu
cd "$1"
top=$PWD

# Whether $1 is there, and reached through no link.
reached() {
  path=.
  set -f
  IFS=/
  for part in $1; do
    path=$path/$part
    if [ -L "$path" ]; then break; fi
  done
  unset IFS
  set +f
  [ ! -L "$path" ] && [ -e "$path" ]
}
# Whether $1 is a file of at most $2 bytes: from more, no program could be kept from reading for ever.
small() {
  reached "$1" && [ -f "$1" ] && [ "$(stat -c %s "$1")" -le "$2" ]
}
# $1 the word before each line of the file $2, which is no larger than $3 bytes.
show() {
  small "$2" "$3" || return 0
  sed "s/^/$1 /" "$2"
  echo
}
state() {
  for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    if [ -e "$entry" ] || [ -L "$entry" ]; then echo full && return; fi
  done
  echo empty
}

look() {
  if reached etc && [ -d etc ]; then
    echo 'has etc'
    if [ -e etc/os-release ] || [ -L etc/os-release ]; then echo 'has os-release'; fi
    if [ -L etc/fstab ] || { [ -e etc/fstab ] && { [ ! -f etc/fstab ] || [ "$(stat -c %s etc/fstab)" -gt 524288 ]; }; }; then
      echo 'has fstab'
      echo 'bad /etc/fstab in the image is no plain file of at most 512 KiB; put one there, in place of a link'
    elif [ -e etc/fstab ]; then
      echo 'has fstab'
      show fstab etc/fstab 524288
    fi
  else
    echo 'bad /etc in the image is no folder'
  fi
  if reached usr/lib/os-release; then echo 'has os-release'; fi
  if reached var/lib/dpkg/status; then echo 'has dpkg'; fi
  for folder in boot boot/efi efi home srv usr var; do
    if reached $folder && [ -d $folder ]; then echo "folder $folder $(state $folder)"; fi
  done
}

# These matter only where it is the root.
look_closer() {
  if small etc/machine-id 64; then
    read -r id <etc/machine-id || :
    echo "machine-id $id"
  fi
  units=etc/systemd/system
  if [ -L etc/systemd/system-generators/systemd-gpt-auto-generator ]; then echo manual; fi
  reached $units || return 0
  # Enabled: itself, or for the moment when something looks into its folder.
  count=0
  seen=
  for link in "$units"/*.wants/*.mount "$units"/*.requires/*.mount "$units"/*.wants/*.automount "$units"/*.requires/*.automount; do
    count=$((count + 1))
    [ $count -le 1024 ] || break
    name=${link##*/}
    name=${name%.*}.mount
    # Several targets may want one. Those of snaps are many, and nothing else writes where they are mounted.
    case $name in snap-*) continue ;; esac
    case "$seen" in *"/$name/"*) continue ;; esac
    seen=$seen/$name/
    for unit in "$units/$name" "usr/lib/systemd/system/$name"; do
      if [ ! -L "$link" ] || ! small "$unit" 65536; then continue; fi
      echo "unit $name"
      show line "$unit" 65536
      break
    done
  done
}
look_for_flags() {
  # Either the root's own, or a file system of /boot.
  [ "$1" = btrfs ] || ! reached etc || return 0
  for config in boot/grub/grub.cfg grub/grub.cfg boot/loader/entries/*.conf loader/entries/*.conf etc/kernel/cmdline; do
    small "$config" 1048576 || continue
    sed -n 's/.*rootflags=\([^[:space:]"]*\).*/flags \1/p' "$config" | head -n 20
  done
}

echo 'system '
look
look_closer
look_for_flags "$2"
if [ "$2" = btrfs ]; then
  count=0
  for folder in *; do
    # Others could not be named among mount options.
    case $folder in *[!A-Za-z0-9@._+-]*) continue ;; esac
    # The number of every subvolume's own folder.
    if [ -L "$folder" ] || [ ! -d "$folder/etc" ] || [ "$(stat -c %i "$folder")" != 256 ]; then continue; fi
    count=$((count + 1))
    [ $count -le 32 ] || break
    cd "$folder"
    echo "system $folder"
    look
    look_closer
    look_for_flags btrfs
    cd "$top"
  done
fi
