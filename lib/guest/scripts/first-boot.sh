# Goes on where seal.sh ends. Takes out identities that the build has made (identities.sh). What nothing makes anew, a unit
# of the image makes at its first boot.
boot=/etc/imagebuilder-first-boot
unit=/etc/systemd/system/imagebuilder-first-boot.service
steps=/tmp/imagebuilder-steps
: >"$steps"
# step: the shell lines on standard input, once each.
step() {
  cat >/tmp/imagebuilder-step
  grep -qF -f /tmp/imagebuilder-step "$steps" || cat /tmp/imagebuilder-step >>"$steps"
}
while read -r made kind path; do
  [ "$made" = made ] || continue
  case $kind in
    openssh)
      rm -f "$path"
      # It makes them anew by itself.
      if [ -x /usr/bin/cloud-init ] && [ ! -e /etc/cloud/cloud-init.disabled ]; then continue; fi
      echo 'ssh-keygen -A' | step
      ;;
    dropbear)
      rm -f "$path"
      type=${path#*dropbear_}
      echo "[ -e $path ] || dropbearkey -t ${type%_host_key} -f $path" | step
      ;;
    itself) rm -rf "$path" ;;
    nvme)
      rm -f "$path"
      case $path in
        */hostnqn) echo "[ -s $path ] || nvme gen-hostnqn >$path" | step ;;
        *) echo "[ -s $path ] || cat /proc/sys/kernel/random/uuid >$path" | step ;;
      esac
      ;;
    ssl-cert)
      rm -f "$path"
      echo 'make-ssl-cert generate-default-snakeoil --force-overwrite' | step
      ;;
    # By this line iscsid makes a name at its start.
    iscsi) sed -i 's/^InitiatorName=.*/GenerateName=yes/' "$path" ;;
    popularity-contest)
      sed -i 's/^MY_HOSTID=.*/MY_HOSTID=""/' "$path"
      echo "sed -i \"s/^MY_HOSTID=\\\"\\\"/MY_HOSTID=\\\"\$(tr -d - </proc/sys/kernel/random/uuid)\\\"/\" $path" | step
      ;;
    bind)
      rm -f "$path"
      echo "[ -e $path ] || { rndc-confgen -a -c $path && chown bind:bind $path && chmod 640 $path; }" | step
      ;;
    hostid)
      rm -f "$path"
      echo "[ -e $path ] || zgenhostid" | step
      ;;
  esac
done </tmp/imagebuilder-new

if [ -s "$steps" ]; then
  {
    echo '# Makes the identities of this machine, which the image that it was started from does not have: imagebuilder-first-boot.service'
    echo '# runs it at the first boot. It removes itself when all of them are made.'
    echo 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    echo 'failed='
    while read -r line; do echo "{ $line; } || failed=yes"; done <"$steps"
    # shellcheck disable=SC2016 # expanded at the first boot
    echo '[ -z "$failed" ] || exit 1'
    echo "rm -f $boot $unit /etc/systemd/system/basic.target.wants/${unit##*/}"
  } >"$boot"
  chmod 644 "$boot"
  mkdir -p /etc/systemd/system/basic.target.wants
  cat >"$unit" <<END
[Unit]
Description=Make the identities of this machine
ConditionPathExists=$boot
DefaultDependencies=no
Conflicts=shutdown.target
After=local-fs.target systemd-tmpfiles-setup.service systemd-random-seed.service
Before=basic.target shutdown.target

[Service]
Type=oneshot
ExecStart=/bin/sh $boot
END
  chmod 644 "$unit"
  ln -sf "$unit" "/etc/systemd/system/basic.target.wants/${unit##*/}"
  if [ ! -x /lib/systemd/systemd ]; then
    echo "warning: $boot makes this machine's own keys and ids, but without systemd nothing runs it: run it at the first boot"
  fi
fi

# New files that look like the only ones of their kind in the world, and that no package ships. root.key: the public key of
# the domain name system.
reference=/run/imagebuilder-borrowed/opened
# Of layers, only the changes are searched, as in touched.sh.
case ${1:-} in /run/imagebuilder-changes) root=$1 ;; *) root= ;; esac
find "$root/etc" "$root/var/lib" "$root/var/opt" "$root/opt" "$root/srv" "$root/root" "$root/usr/local" \
  \( -path "$root/var/lib/dpkg" -o -path "$root/var/lib/apt" \) -prune \
  -o -type f -size -128 -cnewer "$reference" \
  \( \( -name '*.cookie' -o -name '*secret*' -o -name debian.cnf -o -name pg_control -o -name '*uuid' -o -name '*hostid' \
  -o -path '*dropbear*/*host_key' -o -name '*.key' ! -name root.key \) -print \
  -o -exec grep -l -e '-----BEGIN .*PRIVATE KEY-----' {} + \) >/tmp/imagebuilder-unique 2>/dev/null || :
[ ! -s /tmp/imagebuilder-unique ] || sort -o /tmp/imagebuilder-unique /tmp/imagebuilder-unique
[ -z "$root" ] || sed -i "s|^$root/|/|" /tmp/imagebuilder-unique
count=0
while [ $count -lt 50 ] && read -r path; do
  count=$((count + 1))
  # Of the base image, and only touched. 0 where the file system does not know when a file was made.
  born=$(stat -c %W "$path" 2>/dev/null) || continue
  if [ "$born" != 0 ] && [ "$born" -lt "$(stat -c %Y "$reference")" ]; then continue; fi
  if grep -qxF "$path" /var/lib/dpkg/info/*.list; then continue; fi
  echo "warning: $path was made during the build: all machines started from this image have the same one"
done </tmp/imagebuilder-unique
