import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { exec } from '#lib/exec.ts';
import type { Partition } from '#lib/image/partition.ts';

/** Makes base images whose file systems hold gigabytes of data. */

export interface LargeImageOptions {
  /** A compressed qcow2 with GPT, whose last partition holds an ext4 with the root file system. */
  readonly basePath: string;
  readonly root: Pick<Partition, 'number' | 'offsetBytes'>;
  /** Size that the file is to have, about. */
  readonly gibibytes: number;
  /** Where the image stays for the next run. */
  readonly cacheDirectory: string;
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Makes the image $5 of the base $1, whose partition $2 starts at byte $3, with $4 MiB more. Half of each step are files
 * that do not compress, and half are copies of the base's own programs, which compress to about two fifths.
 */
const recipe = `
number=$2 offset=$3 more=$4 output=$5
qemu-img convert -O raw "$1" disk
truncate -s "+$((more * 3 / 2 + 256))M" disk
sfdisk -q --relocate gpt-bak-std disk
echo ',+' | sfdisk -q --no-reread -N "$number" disk
size=$(($(partx --show --noheadings --output SECTORS --nr "$number" disk) * 512))
device=$(losetup --find --show --offset "$offset" --sizelimit "$size" disk)
trap 'losetup --detach "$device"' EXIT
e2fsck -f -p "$device" || [ "$?" = 1 ]
resize2fs "$device"
mkdir root
mount -o noatime "$device" root
programs=$(du -s -m root/usr/bin | cut -f1)
step=$((programs * 7 / 5))
for at in $(seq 0 "$step" "$((more - 1))"); do
  mkdir -p "root/srv/data/$at"
  cp -a root/usr/bin "root/srv/data/$at"
  openssl rand -out "root/srv/data/$at/random" "$((programs * 1048576))"
done
umount root
losetup --detach "$device"
trap - EXIT
qemu-img convert -c -m 8 -W -f raw -O qcow2 disk "$output"
`;

/** Resolves with the path of the image, which an earlier run may have made. Needs root. */
export async function makeLargeImage(options: LargeImageOptions): Promise<string> {
  const { basePath, root, gibibytes, cacheDirectory, onLine, signal } = options;
  const made = Buffer.concat([await readFile(new URL(import.meta.url)), Buffer.from(basename(basePath))]);
  const key = createHash('sha256').update(made).digest('hex').slice(0, 12);
  const path = join(cacheDirectory, `cloud-${gibibytes}-gib-${key}.qcow2`);
  if ((await stat(path).catch(() => null)) !== null) return path;
  onLine(`making a base image of ${gibibytes} GiB (about ${Math.ceil(gibibytes)} minutes)`);
  const directory = await mkdtemp(join(cacheDirectory, 'making-cloud-'));
  try {
    const { size } = await stat(basePath);
    const more = Math.round(gibibytes * 1024 - size / 1024 ** 2);
    const words = [basePath, `${root.number}`, `${root.offsetBytes}`, `${more}`, 'output.qcow2'];
    // The mount ends with the namespace.
    const script = ['unshare', '--mount', '--propagation', 'private', 'sh', '-euc', recipe, 'large-image', ...words];
    const [program = '', ...rest] = script;
    await exec(program, rest, { cwd: directory, signal });
    await rename(join(directory, 'output.qcow2'), path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return path;
}
