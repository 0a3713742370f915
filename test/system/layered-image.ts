import { appendFile, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import type { GuestPlace, LayerChanges, LayeredDisk, Region } from '#lib/guest/guest.ts';
import { createScratchOverlay } from '#lib/image/scratch.ts';
import { writeSystem } from './guest-image.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** A file with layers of SquashFS inside, as an ISO has them, and busybox for a system. Needs root. */
export interface LayeredImage {
  readonly path: string;
  readonly layers: readonly Region[];
}

const extentBytes = 2048;

/** The content of two layers: all that a layer can have besides plain files. */
const scripts = {
  below: `
mkdir -p opt/things/folder opt/things/whole var/lib/dpkg
printf below >opt/things/kept
printf below >opt/things/hidden
printf below >opt/things/removed
printf below >opt/things/folder/old
printf below >opt/things/whole/one
cp bin/busybox opt/things/capable
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 opt/things/capable
setfattr -n user.colour -v green opt/things/kept
chown 12345:54321 opt/things/hidden
printf 'one link' >opt/things/link-1
ln opt/things/link-1 opt/things/link-2
mkfifo opt/things/pipe
mkdir opt/many
seq 2000 | split -l 1 -a 4 - opt/many/
# GNU's find, and a shell that starts it in the place of busybox's own, with all that these are linked to.
rm usr/bin/find usr/bin/sh
for file in /usr/bin/find /usr/bin/dash $(ldd /usr/bin/find /usr/bin/dash | grep -o '/[^ :]* '); do
  mkdir -p ".$(dirname "$file")"
  cp -L "$file" ".$file"
done
ln -s dash usr/bin/sh
`,
  above: `
mkdir -p opt/things/folder
mknod opt/things/hidden c 0 0
setfattr -n trusted.overlay.opaque -v y opt/things/folder
printf above >opt/things/folder/new
printf above >opt/things/added
`,
} as const;

export async function makeLayeredImage(directory: string): Promise<LayeredImage> {
  const path = join(directory, 'medium.img');
  // Neither begins with the file, nor ends with it.
  await writeFile(path, Buffer.alloc(2 * extentBytes, 'x'));
  const layers: Region[] = [];
  for (const [name, compressor] of [
    ['below', 'xz'],
    ['above', 'gzip'],
  ] as const) {
    const tree = join(directory, name);
    const file = join(directory, `${name}.squashfs`);
    await mkdir(tree);
    if (name === 'below') await writeSystem(tree, { files: { '/etc/hostname': 'live\n' } });
    await exec('sh', ['-ec', scripts[name]], { cwd: tree });
    await exec('mksquashfs', [tree, file, '-noappend', '-quiet', '-no-progress', '-xattrs', '-comp', compressor]);
    const { size: offsetBytes } = await stat(path);
    await exec('sh', ['-c', 'cat "$1" >>"$2"', 'append', file, path]);
    const { size } = await stat(path);
    layers.push({ offsetBytes, sizeBytes: size - offsetBytes });
    await appendFile(path, Buffer.alloc(extentBytes - (size % extentBytes), 'y'));
    await rm(tree, { recursive: true });
    await rm(file);
  }
  return { path, layers };
}

/** A disk whose changes come out. */
export interface ChangedDisk extends LayeredDisk {
  readonly changes: LayerChanges;
}

/** The disk that a guest opens, in the place of a build. */
export async function layeredDisk(
  { path, layers }: LayeredImage,
  place: GuestPlace,
  maximumBytes: number,
): Promise<ChangedDisk> {
  const { size: baseBytes } = await stat(path);
  const scratch = await createScratchOverlay({
    ...{ basePath: path, baseBytes, overlayPath: place.overlayPath, scratchBytes: 2 ** 30 },
    ...{ workDirectory: place.workDirectory, unprivilegedIds, signal: new AbortController().signal },
  });
  // Beside the folder that is to be empty in the end.
  const changes = { path: `${place.overlayPath}.changes.tar`, maximumBytes };
  return { ...place, base: { path, format: 'raw' }, layers, scratch, changes };
}
