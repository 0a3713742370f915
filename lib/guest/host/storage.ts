import { privilegeArguments } from '../../privileges.ts';
import type { StorageDisk } from './messages.ts';

/** The qcow2 overlay as a raw file, by qemu-storage-daemon's FUSE export, and the kernel's side of it. */

/**
 * Arguments of `unshare` that start the daemon, below a shell that ends with it. The shell has a mount namespace of its
 * own, so that only the guest's namespace, which descends from it, sees the export: no other build's namespace can keep
 * the mount busy, and it is gone with the daemon.
 */
export function storageArguments({ overlayPath, base, user }: StorageDisk, exportPath: string): string[] {
  return [
    ...['--mount', '--propagation', 'slave', '--', 'sh', '-c', storageScript, 'storage'],
    ...[roomScript, exportPath, overlayPath, base.path, base.format],
    ...privilegeArguments(user),
  ];
}

/** Number of the descriptor by which the daemon answers the kernel. */
const connectionDescriptor = 9;

/**
 * Shell text that mounts the export `$2` itself, so that the daemon, which strangers' data may take over, needs no
 * right to mount; libfuse takes over a connection where the mount point is called /dev/fd/9. The daemon is the only
 * child of the process that this shell waits for. The shell passes SIGTERM on to it until it has ended: as the first
 * process of its PID namespace, the daemon does not get the signal before it handles it.
 */
const storageScript = `
parent='' ending=''
end() {
  ending=yes
  # A process that has ended, and is only to be waited for, has no program.
  while [ -e "/proc/$parent/exe" ]; do
    id=
    read -r id <"/proc/$parent/task/$parent/children"
    [ -z "$id" ] || kill -s TERM "$id"
    sleep 0.02
  done
}
trap end TERM
exec ${connectionDescriptor}<>/dev/fuse || exit
options=fd=${connectionDescriptor},rootmode=100000,user_id=0,group_id=0,max_read=67108864,nosuid,nodev
mount -i -t fuse -o "$options" storage "$2" || exit
room=$1
shift
setpriv --pdeathsig KILL unshare --mount --propagation slave --pid --ipc --fork --kill-child sh -c "$room" room "$@" &
parent=$!
[ -z "$ending" ] || end
exec ${connectionDescriptor}<&-
while kill -s 0 "$parent" 2>/dev/null; do wait "$parent"; done
`;

/**
 * Shell text that becomes the daemon of the export `$1`, in a root folder that holds only programs, the overlay `$2` as
 * /overlay and, read-only, the base `$3`, of format `$4`, as /base. Further arguments are those of setpriv, by which the
 * daemon has no capabilities and mostly a user of its own. Its PID namespace has only its own processes. The root folder
 * is mounted over the guest's folder, in this mount namespace only. QEMU wants the mount point of an export to be a file.
 * The overlay is thrown away after a crash, so nothing is gained by flushing it to the disk.
 */
const roomScript = `
set -e
room=\${1%/*} base=$4
exec 3<>"$2" 4<"$3" 8<>/dev/null
shift 4
mount -t tmpfs -o mode=755,size=1M,nosuid,nodev room "$room"
links=
for folder in usr bin lib lib32 lib64 libx32 sbin; do
  if [ -L "/$folder" ]; then
    links="$links /$folder"
  elif [ -d "/$folder" ]; then
    mkdir "$room/$folder"
    mount -o bind,ro "/$folder" "$room/$folder"
  fi
done
[ -z "$links" ] || cp -P $links "$room/"
mkdir "$room/dev" "$room/dev/fd"
borrow() {
  : >"$room$2"
  mount -c -o "bind,$3" "/proc/self/fd/$1" "$room$2"
}
borrow 8 /dev/null rw
borrow 3 /overlay rw
borrow 4 /base ro
: >"$room/dev/fd/${connectionDescriptor}"
mount -o remount,ro "$room"
exec 3<&- 4<&- 8<&-
exec chroot "$room" setpriv --pdeathsig KILL "$@" -- qemu-storage-daemon \
  --blockdev "driver=$base,node-name=base,read-only=on,file.driver=file,file.filename=/base" \
  --blockdev "driver=qcow2,node-name=disk,backing=base,discard=unmap,cache.no-flush=on,\
file.driver=file,file.filename=/overlay,file.discard=unmap" \
  --export fuse,id=disk,node-name=disk,mountpoint=/dev/fd/${connectionDescriptor},writable=on,allow-other=off
`;

/**
 * Shell text of the storage daemon's last will: reads names of loop devices until its standard input ends, which also
 * happens when the supervisor is killed; waits until they are off the export `$2` and then ends the daemon, process
 * `$1`. A file whose mount namespace is gone shows as `/`.
 */
export const lastWillScript = `
loops=
while read -r name; do loops="$loops $name"; done
for name in $loops; do
  while read -r file <"/sys/block/$name/loop/backing_file" && { [ "$file" = "$2" ] || [ "$file" = / ]; }; do sleep 0.02; done
done 2>/dev/null
kill -s TERM "$1"
`;
