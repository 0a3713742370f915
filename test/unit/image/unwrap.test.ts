import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { unwrapImage } from '#lib/image/unwrap/unwrap.ts';
import { failure } from '../../failure.ts';
import { temporaryFolder, testIds } from '../fetch/with-server.ts';
import { testWith } from '../with-programs.ts';

/** Disk images as vendors publish them: compressed, in archives, in formats of other virtual machines. */

const MiB = 2 ** 20;
/** A raw disk of 8 MiB with one partition in its MBR, some content, and mostly holes. */
function makeDisk(): Buffer {
  const disk = Buffer.alloc(8 * MiB);
  disk.writeUInt8(0x83, 450);
  disk.writeUInt32LE(2048, 454);
  disk.writeUInt32LE(4096, 458);
  disk.writeUInt16LE(0xaa55, 510);
  randomBytes(100_000).copy(disk, MiB + 1);
  randomBytes(70_000).copy(disk, 7 * MiB);
  return disk;
}

/** A folder with `disk.raw`, and its content. */
async function workshop() {
  const folder = await temporaryFolder();
  const disk = makeDisk();
  await writeFile(join(folder.path, 'disk.raw'), disk);
  const shell = (script: string) => exec('bash', ['-euc', script], { cwd: folder.path });
  const layers: string[] = [];
  return {
    disk,
    shell,
    layers,
    path: (name: string) => join(folder.path, name),
    async unwrap(name: string, maximumBytes = 64 * MiB) {
      const workDirectory = join(folder.path, 'work');
      await mkdir(workDirectory, { recursive: true });
      layers.length = 0;
      return unwrapImage(join(folder.path, name), {
        ...{ workDirectory, maximumBytes, unprivilegedIds: testIds, signal: new AbortController().signal },
        onLayer: (layer) => layers.push(layer),
        onProgress: () => undefined,
      });
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** Sizes in 64 bits though they would fit into 32. */
const forcedZip64 = `
import zipfile
with zipfile.ZipFile("forced.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    with archive.open("disk.raw", "w", force_zip64=True) as member, open("disk.raw", "rb") as disk:
        member.write(disk.read())
`;
/** The image and the directory lie 5 GiB behind the start of the archive, most of which is a hole. */
const farZip64 = `
import zipfile
with zipfile.ZipFile("far.zip", "w") as archive:
    archive.writestr("README.txt", "text")
    archive.start_dir = 5 << 30
    archive.write("disk.raw", compress_type=zipfile.ZIP_DEFLATED)
`;

testWith(
  'bzip2',
  'xz',
  'zip',
  'zstd',
)('every compression and archive gives the disk back, with its holes', async () => {
  await using shop = await workshop();
  const forms: readonly [string, string, string[]][] = [
    ['a.gz', 'gzip -k -c disk.raw > a.gz', ['a gzip file']],
    ['two.gz', '(head -c 5000000 disk.raw | gzip; tail -c +5000001 disk.raw | gzip) > two.gz', ['a gzip file']],
    ['a.xz', 'xz -k -c disk.raw > a.xz', ['an xz file']],
    ['a.zst', 'zstd -q -c disk.raw > a.zst', ['a zstd file']],
    ['a.bz2', 'bzip2 -k -c disk.raw > a.bz2', ['a bzip2 file']],
    ['a.zip', 'echo text > README.txt; zip -q a.zip README.txt disk.raw', ['a zip archive']],
    ['stored.zip', 'zip -q -0 stored.zip disk.raw', ['a zip archive']],
    ['stream.zip', 'zip -q - disk.raw | cat > stream.zip', ['a zip archive']],
    ['large.zip', 'zip -q -fz large.zip disk.raw', ['a zip archive']],
    ['forced.zip', `python3 -c '${forcedZip64}'`, ['a zip archive']],
    ['far.zip', `python3 -c '${farZip64}'`, ['a zip archive']],
    ['a.tar', 'tar -cf a.tar disk.raw', ['a tar archive']],
    ['pax.tar', 'tar --format=posix -cf pax.tar disk.raw', ['a tar archive']],
    ['a.tar.xz', 'tar -cJf a.tar.xz disk.raw', ['an xz file', 'a tar archive']],
    [
      'gce.tar.gz',
      'cp --sparse=always disk.raw s.raw; tar --format=oldgnu -Sczf gce.tar.gz s.raw',
      ['a gzip file', 'a tar archive'],
    ],
  ];
  for (const [name, script, layers] of forms) {
    await shop.shell(script);
    const path = await shop.unwrap(name);
    assert.ok((await readFile(path)).equals(shop.disk), name);
    assert.equal(shop.layers, layers);
    const { blocks } = await stat(path);
    assert.ok(blocks * 512 < 2 * MiB, `${name} takes ${blocks * 512} bytes`);
    assert.equal(await readdir(shop.path('work')), [`unwrapped-${layers.length}`], 'nothing else is left');
  }
  assert.is(await shop.unwrap('disk.raw'), shop.path('disk.raw'), 'an image that is not wrapped stays');
});

testWith('qemu-img')('images of other virtual machines are converted', async () => {
  await using shop = await workshop();
  const forms: readonly [string, string][] = [
    ['a.vmdk', 'qemu-img convert -O vmdk disk.raw a.vmdk'],
    ['stream.vmdk', 'qemu-img convert -O vmdk -o subformat=streamOptimized disk.raw stream.vmdk'],
    ['a.vdi', 'qemu-img convert -O vdi disk.raw a.vdi'],
    ['a.vhd', 'qemu-img convert -O vpc -o force_size=on disk.raw a.vhd'],
    ['fixed.vhd', 'qemu-img convert -O vpc -o subformat=fixed,force_size=on disk.raw fixed.vhd'],
    ['a.vhdx', 'qemu-img convert -O vhdx disk.raw a.vhdx'],
    ['a.vhd.zip', 'zip -q a.vhd.zip a.vhd'],
    ['a.ova', 'echo "<Envelope/>" > a.ovf; echo x > a.mf; tar --format=ustar -cf a.ova a.ovf a.mf stream.vmdk'],
  ];
  for (const [name, script] of forms) {
    await shop.shell(script);
    const path = await shop.unwrap(name);
    assert.ok((await readFile(path)).subarray(0, shop.disk.length).equals(shop.disk), name);
    assert.ok((await stat(path)).blocks * 512 < 2 * MiB, name);
  }
  assert.equal(await readdir(shop.path('work')), ['unwrapped-2']);
});

testWith('qemu-img')('an image that names other files is refused, and they are not read', async () => {
  await using shop = await workshop();
  const secret = shop.path('secret');
  await writeFile(secret, Buffer.alloc(MiB, 'secret'));
  await exec('chmod', ['o+r', secret]);
  // An embedded description that has the worker's file as its extent: QEMU reads it where the capacity is 0.
  await shop.shell('qemu-img create -q -f vmdk flat.vmdk 8M');
  const flat = await readFile(shop.path('flat.vmdk'));
  const description = `# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 2048 FLAT "${secret}" 0\n`;
  flat.fill(0, 12, 20);
  flat.fill(0, 512, 512 + 20 * 512);
  flat.write(description, 512);
  await writeFile(shop.path('flat.vmdk'), flat);
  await writeFile(shop.path('text.vmdk'), description);
  await shop.shell(
    'qemu-img create -q -f vmdk base.vmdk 8M; qemu-img create -q -f vmdk -F vmdk -b base.vmdk child.vmdk',
  );
  await shop.shell('qemu-img create -q -f vpc child.vhd 8M');
  const vhd = await readFile(shop.path('child.vhd'));
  vhd.writeUInt32BE(4, 60);
  await writeFile(shop.path('child.vhd'), vhd);
  for (const name of ['flat.vmdk', 'child.vmdk', 'child.vhd']) {
    const error = await failure(shop.unwrap(name));
    assert.is(error.code, 'image.unsupported', name);
    assert.match(error.message, 'is not one file on its own', name);
  }
  assert.is(await shop.unwrap('text.vmdk'), shop.path('text.vmdk'), 'a description alone is no image');
});

testWith(
  'bzip2',
  'qemu-img',
  'xz',
  'zip',
  'zstd',
)('results are bounded by the limit and by the size of the file', async () => {
  await using shop = await workshop();
  await shop.shell('gzip -k disk.raw; xz -k disk.raw; bzip2 -k disk.raw; zstd -q disk.raw; zip -q disk.zip disk.raw');
  await shop.shell('tar -cf disk.tar disk.raw; qemu-img convert -O vmdk disk.raw disk.vmdk');
  for (const suffix of ['raw.gz', 'raw.xz', 'raw.bz2', 'raw.zst', 'zip', 'tar', 'vmdk']) {
    const error = await failure(shop.unwrap(`disk.${suffix}`, 4 * MiB));
    assert.is(error.code, 'image.too_large', suffix);
  }
  // 1.2 GiB of zeros in some 1,000 bytes: more than 1 GiB and 1,000 times the file.
  await shop.shell('truncate -s 1200M zeros; zstd -q zeros; rm zeros');
  assert.is((await failure(shop.unwrap('zeros.zst', 2 ** 40))).code, 'image.too_large');
});

testWith(
  'bzip2',
  'xz',
  'zip',
  'zstd',
)('damaged and cut files are named as that', async () => {
  await using shop = await workshop();
  await shop.shell('gzip -k disk.raw; xz -k disk.raw; bzip2 -k disk.raw; zstd -q disk.raw; zip -q disk.zip disk.raw');
  await shop.shell('tar -cf disk.tar disk.raw');
  for (const suffix of ['raw.gz', 'raw.xz', 'raw.bz2', 'raw.zst', 'zip', 'tar']) {
    const name = `disk.${suffix}`;
    const { size } = await stat(shop.path(name));
    await copyFile(shop.path(name), shop.path(`cut.${suffix}`));
    await truncate(shop.path(`cut.${suffix}`), size - 100_000);
    const cut = await failure(shop.unwrap(`cut.${suffix}`));
    assert.match(cut.code, /^image\.(truncated|corrupt)$/, `${suffix}: ${cut.message}`);
    const damaged = await readFile(shop.path(name));
    randomBytes(2000).copy(damaged, suffix === 'tar' ? 0 : Math.floor(size / 2));
    damaged.write('ustar', 257);
    if (suffix !== 'tar') damaged.set((await readFile(shop.path(name))).subarray(0, 300), 0);
    await writeFile(shop.path(`bad.${suffix}`), damaged);
    assert.is((await failure(shop.unwrap(`bad.${suffix}`))).code, 'image.corrupt', suffix);
  }
});

testWith('zip')('archives with no image, several, or without an end are refused', async () => {
  await using shop = await workshop();
  await shop.shell('cp disk.raw other.raw; zip -q two.zip disk.raw other.raw; tar -cf two.tar disk.raw other.raw');
  await shop.shell('echo text > readme.txt; zip -q none.zip readme.txt; tar -cf none.tar readme.txt');
  await shop.shell('zip -q -P secret locked.zip disk.raw');
  await shop.shell('for i in 1 2 3 4 5; do tar -cf $i.tar disk.raw; mv $i.tar disk.raw; done; cp disk.raw deep.tar');
  const expected: Record<string, string> = {
    'two.zip': '2 files that may be the disk image (disk.raw, other.raw)',
    'two.tar': '2 files that may be the disk image (disk.raw, other.raw)',
    'none.zip': 'holds no disk image',
    'none.tar': 'holds no disk image',
    'locked.zip': 'disk.raw is encrypted',
    'deep.tar': 'wrapped more than 4 times',
  };
  for (const [name, message] of Object.entries(expected)) {
    const error = await failure(shop.unwrap(name));
    assert.is(error.code, 'image.unsupported', name);
    assert.match(error.message, message, name);
  }
});

test.run();
