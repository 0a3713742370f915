import { open, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createByteComparison, type SameBytes } from '#lib/iso9660/compare-bytes.ts';
import { failure } from '../../failure.ts';
import { temporaryFolder } from '../image/temporary.ts';

/** Both media are in memory but for the base, whose readings are counted. */

const base = Buffer.from(Array.from({ length: 10_000 }, (_, at) => (at * 31) % 251));
const extent = (offsetBytes: number, sizeBytes: number) => ({ offsetBytes, sizeBytes });

/** Compares chunk by chunk. Resolves with the number of readings of the base. */
async function compare(made: Buffer, same: readonly SameBytes[], chunkBytes: number): Promise<number> {
  await using folder = await temporaryFolder();
  await writeFile(folder.file('base'), base);
  await using handle = await open(folder.file('base'));
  let readings = 0;
  const counting = new Proxy(handle, {
    get(target, name) {
      if (name !== 'read') return Reflect.get(target, name);
      readings += 1;
      return target.read.bind(target);
    },
  });
  const comparison = createByteComparison(counting, same);
  for (let at = 0; at < made.length; at += chunkBytes) await comparison.check(made.subarray(at, at + chunkBytes), at);
  return readings;
}

/** Two files that have been moved together, one in pieces, one twice, one of nothing, and bytes that may differ. */
const made = Buffer.concat([
  Buffer.alloc(100),
  base.subarray(1000, 3000),
  base.subarray(5000, 5500),
  Buffer.alloc(7),
  base.subarray(6000, 6600),
]);
const same: readonly SameBytes[] = [
  { base: [extent(1000, 1200)], made: [extent(100, 1200)], fault: 'first' },
  { base: [extent(2200, 800)], made: [extent(1300, 800)], fault: 'second' },
  { base: [extent(6000, 200), extent(6200, 400)], made: [extent(2607, 350), extent(2957, 250)], fault: 'pieces' },
  { base: [extent(5000, 500)], made: [extent(2100, 500)], fault: 'twice' },
  { base: [extent(5000, 500)], made: [extent(2100, 500)], fault: 'twice' },
  { base: [extent(9000, 0)], made: [extent(3, 0)], fault: 'nothing' },
];

test('bytes that have been moved are the same, wherever the chunks of the reading end', async () => {
  for (const chunkBytes of [1, 99, 1000, made.length]) await compare(made, same, chunkBytes);
});

test('any other byte is found, and the file that it belongs to is named', async () => {
  for (const [at, expected] of [
    [100, 'first'],
    [1299, 'first'],
    [1300, 'second'],
    [2099, 'second'],
    [2600 - 1, 'twice'],
    [2607, 'pieces'],
    [made.length - 1, 'pieces'],
  ] as const) {
    const other = Buffer.from(made);
    other[at] = (other[at] ?? 0) ^ 1;
    for (const chunkBytes of [64, made.length]) {
      const { code, message } = await failure(compare(other, same, chunkBytes));
      assert.equal([code, message], ['image.output', expected]);
    }
  }
  const beside = Buffer.from(made);
  beside[0] = 1;
  beside[2603] = 1;
  await compare(beside, same, 64);
});

test('parts that have another size are not the same', async () => {
  const shorter = [{ base: [extent(0, 10)], made: [extent(0, 9)], fault: 'shorter' }];
  assert.is((await failure(compare(made, shorter, 64))).message, 'shorter');
});

test('files that have been moved together take one reading of the base for each chunk', async () => {
  const files = Array.from({ length: 200 }, (_, index) => ({
    base: [extent(50 * index, 40)],
    made: [extent(50 * index, 40)],
    fault: String(index),
  }));
  assert.is(await compare(base, files, base.length), 1);
  assert.is(await compare(base, files, base.length / 4), 4);
});

test.run();
