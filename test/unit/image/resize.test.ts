import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import type { ImageInspection } from '#lib/image/inspection.ts';
import { openDisk } from '#lib/image/open-disk.ts';
import { readPartitions } from '#lib/image/partition-table.ts';
import { planGrowth } from '#lib/image/resize/plan-growth.ts';
import { failure } from '../../failure.ts';
import { testWith } from '../with-programs.ts';
import { craftGpt, memoryDisk } from './craft-table.ts';
import { temporaryFolder } from './temporary.ts';

const testDisk = testWith('mke2fs', 'sfdisk');
const MiB = 2 ** 20;
const linux = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';

const layouts: Readonly<Record<string, { readonly table: string | Buffer; readonly sectorBytes?: number }>> = {
  'a GPT whose root is the first entry and last on the disk': {
    table: `label: gpt\nunit: sectors\n14 : start=2048, size=2048\n1 : start=4096, type=${linux}\n`,
  },
  'a GPT with sectors of 4 KiB': {
    table: craftGpt([{ type: linux.toLowerCase(), first: 512n, last: 4089n }], { sectorBytes: 4096 }),
    sectorBytes: 4096,
  },
  'an MBR': { table: 'label: dos\nunit: sectors\n1 : start=2048, size=2048, type=83\n2 : start=4096, type=83\n' },
};

/** A disk of 16 MiB with these partitions and an ext4 in the last of them, and its inspection. */
async function makeDisk(path: string, table: string | Buffer) {
  await writeFile(path, table instanceof Buffer ? table : Buffer.alloc(16 * MiB));
  if (!(table instanceof Buffer)) await exec('sfdisk', ['-q', path], { input: table });
  const { partitions } = await readPartitions(await wholeDisk(path), { beyondEnd: 'image.corrupt' });
  const last = partitions.toSorted((one, other) => one.offsetBytes - other.offsetBytes).at(-1);
  const [offset, kibibytes] = [last?.offsetBytes ?? 0, Math.floor((last?.sizeBytes ?? 0) / 4096) * 4];
  await exec('mke2fs', ['-q', '-F', '-t', 'ext4', '-L', 'root', '-E', `offset=${offset}`, path, `${kibibytes}k`]);
  return await inspectImage(path, { maximumVirtualBytes: 2 ** 40 });
}

async function wholeDisk(path: string) {
  return memoryDisk(await readFile(path));
}

async function plan(path: string, inspection: ImageInspection, sizeBytes: number) {
  await using disk = await openDisk(path, inspection);
  return await planGrowth(disk, inspection, sizeBytes);
}

for (const [what, { table, sectorBytes = 512 }] of Object.entries(layouts)) {
  testDisk(`${what} grows with the disk: sfdisk finds no fault, and both tables say the same`, async () => {
    await using folder = await temporaryFolder();
    const path = folder.file('disk');
    const inspection = await makeDisk(path, table);
    const sizeBytes = 64 * MiB;
    const { patches, inspection: grown, partition } = await plan(path, inspection, sizeBytes);
    const bytes = Buffer.alloc(sizeBytes);
    (await readFile(path)).copy(bytes);
    for (const patch of patches) patch.bytes.copy(bytes, patch.offset);
    const found = await readPartitions(memoryDisk(bytes), { beyondEnd: 'image.corrupt' });
    assert.equal(found.partitions, grown.partitions);
    assert.is(grown.virtualSizeBytes, sizeBytes);
    const root = found.partitions.find(({ number }) => number === partition);
    assert.ok((root?.offsetBytes ?? 0) + (root?.sizeBytes ?? 0) > sizeBytes - 256 * 1024);
    assert.is((root?.sizeBytes ?? 1) % 4096, 0);
    if (sectorBytes === 512) {
      await writeFile(folder.file('grown'), bytes);
      const { stdout, stderr } = await exec('sfdisk', ['--verify', folder.file('grown')]);
      assert.match(stdout, 'No errors detected');
      assert.not.match(stderr, /backup|corrupt|mismatch/i);
    }
    if (inspection.partitionTable === 'gpt') {
      bytes.fill(0, sectorBytes, 2 * sectorBytes);
      const backup = await readPartitions(memoryDisk(bytes), { beyondEnd: 'image.corrupt' });
      assert.equal(backup.partitions, grown.partitions, 'the backup');
      assert.is(bytes.indexOf('EFI PART'), sizeBytes - sectorBytes, 'no other copy is left');
    }
  });
}

testDisk('a disk that cannot grow is refused with the reason', async () => {
  await using folder = await temporaryFolder();
  const make = (name: string, table: string) => makeDisk(folder.file(name), table);
  const last = await make('last', `label: gpt\n1 : start=2048, type=${linux}\n`);
  const smaller = await failure(plan(folder.file('last'), last, 8 * MiB));
  assert.equal([smaller.code, /more than the 8388608 of disk_size/.test(smaller.message)], ['image.too_large', true]);
  const behind = {
    ...last,
    partitions: [...last.partitions, { ...last.partitions[0], number: 2, offsetBytes: 15 * MiB, fileSystem: null }],
  } as ImageInspection;
  const refused = await failure(plan(folder.file('last'), behind, 64 * MiB));
  assert.match(
    refused.message,
    /^disk_size cannot be met: the last partition of the disk is not one with ext2, .*partition 2/,
  );
  const logical = await make('logical', 'label: dos\n1 : start=2048, type=5\n5 : start=4096, type=83\n');
  assert.match((await failure(plan(folder.file('logical'), logical, 64 * MiB))).message, 'logical partition 5');
  const mbr = await make('mbr', 'label: dos\n1 : start=2048, type=83\n');
  assert.match((await failure(plan(folder.file('mbr'), mbr, 3 * 2 ** 40))).message, 'larger than 2 TiB');
});

test.run();
