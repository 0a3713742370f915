import { setImmediate } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toImageBuilderError } from '#lib/errors.ts';
import { createBudget } from '#lib/image/budget.ts';
import { detectFileSystem } from '#lib/image/file-system.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { readPartitions } from '#lib/image/partition-table.ts';
import { craftCostly } from './craft-costly.ts';
import { craftGpt, linuxData, memoryDisk } from './craft-table.ts';
import { withFile } from './temporary.ts';

/** The cost of an inspection is bounded by the size of the file, and it can be broken off at any time. */

const options = { maximumVirtualBytes: 2 ** 30 };
const MiB = 2 ** 20;

test('a small sound file that holds no end of work is refused, and other work goes on meanwhile', async () => {
  const { bytes } = craftCostly();
  let turns = 0;
  let ended = false;
  const thrown = await withFile(bytes, async (path) => {
    const inspection = inspectImage(path, options).catch((error: unknown) => error);
    void inspection.then(() => {
      ended = true;
    });
    for (; !ended; turns += 1) await setImmediate();
    return await inspection;
  });
  const error = toImageBuilderError(thrown);
  assert.is(error.code, 'image.unsupported');
  assert.match(error.message, /more than 26[0-9] MiB of blocks .* for a file of [0-9]+ bytes no more is read/);
  assert.ok(turns > 1000, `the event loop turned ${turns} times`);
});

test('an abort ends an inspection in the middle of its work', async () => {
  const { bytes } = craftCostly();
  const reason = new Error('enough');
  await withFile(bytes, async (path) => {
    const abort = new AbortController();
    const inspection = inspectImage(path, { ...options, signal: abort.signal }).catch((error: unknown) => error);
    setTimeout(() => abort.abort(reason), 20);
    // The whole of its work would end in the refusal above instead.
    assert.is(await inspection, reason);
  });
});

test('the budget grows with the file, and is looked at before each piece of work', () => {
  const limitOf = (fileSizeBytes: number) => {
    const spend = createBudget(fileSizeBytes, undefined);
    for (let spent = 0; ; spent += MiB) {
      try {
        spend(MiB);
      } catch {
        return spent / MiB;
      }
    }
  };
  assert.is(limitOf(0), 256);
  assert.is(limitOf(100 * MiB), 256 + 800);
  const abort = new AbortController();
  const spend = createBudget(0, abort.signal);
  spend(1);
  abort.abort(new Error('enough'));
  assert.throws(() => spend(1), 'enough');
});

test('a root folder that leads back to itself is left after one round', async () => {
  const { bytes } = craftFat((cluster) => (cluster === 5 ? 2 : cluster + 1));
  const disk = memoryDisk(bytes);
  const reads: number[] = [];
  const counted = {
    ...disk,
    read: (offset: number, length: number) => {
      reads.push(offset);
      return disk.read(offset, length);
    },
  };
  const found = await detectFileSystem(counted, 0, bytes.length);
  assert.is(found?.type, 'vfat');
  assert.is(found?.label, null);
  assert.ok(reads.length <= 10 + 2, `${reads.length} reads`);
});

test('more partitions than the usual table has are refused before any is looked at', async () => {
  const entries = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      type: linuxData,
      first: BigInt(400 + index),
      last: BigInt(400 + index),
    }));
  assert.is(
    (await readPartitions(memoryDisk(craftGpt(entries(128))), { beyondEnd: 'image.corrupt' })).partitions.length,
    128,
  );
  const many = craftGpt(entries(129), { claimedEntries: 160 });
  const thrown = await readPartitions(memoryDisk(many), { beyondEnd: 'image.corrupt' }).catch(
    (error: unknown) => error,
  );
  assert.match(toImageBuilderError(thrown).message, /has 129 partitions; at most 128 are looked at/);
});

/** A FAT32 of 4 KiB clusters in which `next` follows each. */
function craftFat(next: (cluster: number) => number): { bytes: Buffer } {
  const bytes = Buffer.alloc(2 ** 20, 0xe5);
  bytes.fill(0, 0, 8192);
  bytes.writeUInt16LE(512, 11);
  bytes.writeUInt8(8, 13);
  bytes.writeUInt16LE(1, 14);
  bytes.writeUInt8(1, 16);
  bytes.writeUInt8(0xf8, 21);
  bytes.writeUInt32LE(15, 36);
  bytes.writeUInt32LE(2, 44);
  bytes.write('NO NAME    FAT32   ', 71, 'latin1');
  bytes.writeUInt16LE(0xaa55, 510);
  for (let cluster = 2; cluster < 100; cluster++) bytes.writeUInt32LE(next(cluster), 512 + cluster * 4);
  return { bytes };
}

test.run();
