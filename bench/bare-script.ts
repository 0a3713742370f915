import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import type { Partition } from '#lib/image/partition.ts';
import { type HandJob, type HandMeasurement, measureByHand } from './by-hand.ts';

/** The floor: the same job by a shell script that does nothing but the job, by the fastest tools that root has. */

export interface BareScriptJob extends HandJob {
  /** The partition with the root file system. The package lists stay in `directory` from one run to the next. */
  readonly root: Pick<Partition, 'offsetBytes' | 'sizeBytes'>;
}

/**
 * Installs the packages $4 in the file system that the file `partition` holds, in the folder $1, with the source $2 by the
 * proxy $3. The lists of the last run, in the folder $5, lie below a tmpfs, so nothing of apt is left in the image.
 */
const inside = `
cd "$1" || exit
mount -o loop,noatime,nodev partition root
mount -t proc proc root/proc
mount -t sysfs -o ro sysfs root/sys
mount -t tmpfs tmpfs root/run
mount -t tmpfs tmpfs root/dev
mknod -m 666 root/dev/null c 1 3
mknod -m 666 root/dev/zero c 1 5
mknod -m 666 root/dev/random c 1 8
mknod -m 666 root/dev/urandom c 1 9
mkdir root/run/upper root/run/work
mount -t overlay -o "lowerdir=$5,upperdir=root/run/upper,workdir=root/run/work" overlay root/var/lib/apt/lists
mount -t tmpfs tmpfs root/var/cache/apt
printf '#!/bin/sh\\nexit 101\\n' >root/usr/sbin/policy-rc.d
chmod 755 root/usr/sbin/policy-rc.d
mkdir -p root/etc/apt/keyrings
cp key.asc root/etc/apt/keyrings/bench.asc
echo "$2" >root/etc/apt/sources.list.d/bench.list
echo "Acquire::http::Proxy \\"$3\\";" >root/run/apt.conf
echo '== update'
export APT_CONFIG=/run/apt.conf DEBIAN_FRONTEND=noninteractive
chroot root apt-get update -q
echo '== install'
chroot root sh -euc "apt-get install -q -y --no-install-recommends $4"
echo '== clean up'
[ -e "$5/lock" ] || cp -a root/var/lib/apt/lists/. "$5"
: >root/etc/machine-id
rm root/usr/sbin/policy-rc.d
sync -f root
fstrim root
umount -R root
`;

/** Builds $2 on the base $1; all else as for `inside`. */
const bareScript = `
base=$1 output=$2 offset=$3 size=$4 inside=$5
shift 5
cd "$1" || exit
echo '== open'
qemu-img create -q -f qcow2 -F qcow2 -b "$base" overlay.qcow2
: >partition
mkdir root
qemu-storage-daemon \\
  --blockdev driver=qcow2,node-name=disk,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=overlay.qcow2,file.discard=unmap \\
  --blockdev "driver=raw,node-name=partition,file=disk,offset=$offset,size=$size" \\
  --export "fuse,id=partition,node-name=partition,mountpoint=$PWD/partition,writable=on,allow-other=off" &
daemon=$!
until [ "$(stat -c %s partition)" = "$size" ]; do sleep 0.01; done
unshare --mount --propagation private --pid --fork --kill-child sh -euc "$inside" inside "$@" || {
  kill "$daemon"
  wait
  exit 1
}
kill "$daemon"
wait "$daemon"
echo '== repack'
cp --reflink=auto --no-preserve=mode "$base" partial
qemu-img map -f qcow2 --output=json overlay.qcow2 |
  sed -n 's/.*"start": \\([0-9]*\\), "length": \\([0-9]*\\), "depth": 0.*/discard \\1 \\2/p' |
  qemu-io -f qcow2 -d unmap -t unsafe partial >/dev/null
qemu-img convert -n -c -m 8 -W --target-is-zero -t unsafe -O qcow2 \\
  'json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"overlay.qcow2"}}' partial
echo '== check'
openssl dgst -sha256 partial >sha256 &
openssl dgst -sha512 partial >sha512
wait
echo '== upload'
sync partial
mv partial "$output"
`;

/** Does the job. Throws ExecError where a command fails. */
export async function measureBareScript(job: BareScriptJob): Promise<HandMeasurement> {
  const { basePath, root, packages, source, key, proxyUrl, signal } = job;
  const lists = join(job.directory, 'lists');
  await mkdir(lists, { recursive: true });
  return await measureByHand(job, async (place, watch) => {
    await writeFile(join(place, 'key.asc'), key);
    const words = [basePath, join(place, 'output.qcow2'), `${root.offsetBytes}`, `${root.sizeBytes}`, inside];
    const wordsInside = [place, source, proxyUrl, packages.join(' '), lists];
    await exec('sh', ['-euc', bareScript, 'bare-script', ...words, ...wordsInside], {
      signal,
      onLine(line, stream) {
        if (stream === 'stdout' && line.startsWith('== ')) watch.begin(line.slice(3));
      },
    });
  });
}
