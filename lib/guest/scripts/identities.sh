# Goes on where snapshot.sh ends, with what packages make once, while they are installed, and every machine must have for
# itself. identity PATH of snapshot.sh is what every image has.
# made KIND PATH: where it is new, first-boot.sh takes it out, and has a machine of the image make its own.
for path in /etc/ssh/ssh_host_*; do [ ! -f "$path" ] || echo "made openssh $path"; done
for path in /etc/dropbear/dropbear_*_host_key; do [ ! -f "$path" ] || echo "made dropbear $path"; done
for path in /etc/tinyssh/sshkeydir /var/lib/rabbitmq/.erlang.cookie /var/lib/mysql/auto.cnf /var/lib/mysql/*.pem \
  /boot/efi/loader/random-seed /efi/loader/random-seed /boot/loader/random-seed; do
  # Their own servers make them at their start.
  [ ! -e "$path" ] || echo "made itself $path"
done
for path in /etc/nvme/hostnqn /etc/nvme/hostid; do [ ! -f "$path" ] || echo "made nvme $path"; done
for path in /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem; do
  [ ! -f "$path" ] || echo "made ssl-cert $path"
done
[ ! -f /etc/iscsi/initiatorname.iscsi ] || echo 'made iscsi /etc/iscsi/initiatorname.iscsi'
[ ! -f /etc/popularity-contest.conf ] || echo 'made popularity-contest /etc/popularity-contest.conf'
[ ! -f /etc/bind/rndc.key ] || echo 'made bind /etc/bind/rndc.key'
[ ! -f /etc/hostid ] || echo 'made hostid /etc/hostid'
