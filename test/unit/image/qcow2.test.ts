import { open, readFile, rm, stat } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError, toImageBuilderError } from '#lib/errors.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { openDisk } from '#lib/image/open-disk.ts';
import { checkContent, copyContent } from '#lib/image/qcow2/content.ts';
import { openContentCopy } from '#lib/image/qcow2/content-copy.ts';
import { failure } from '../../failure.ts';
import { type CraftedImage, type CraftOptions, craftQcow2, extension } from './craft-qcow2.ts';
import { withFile } from './temporary.ts';

const maximumVirtualBytes = 2 ** 30;
const clusterSize = 65536;
const pattern = (seed: number, length = clusterSize) =>
  Buffer.from(Array.from({ length }, (_, index) => (index * 7 + seed + (index >> 8)) & 0xff));

async function verdict(content: Uint8Array): Promise<string> {
  return await withFile(content, async (path) => {
    try {
      await inspectImage(path, { maximumVirtualBytes });
      return 'sound';
    } catch (thrown) {
      const error = toImageBuilderError(thrown);
      return `${error.code}: ${error.message}`;
    }
  });
}

/** A sound image after `change`. */
function changed(change: (image: CraftedImage) => void, options: CraftOptions = {}): Buffer {
  const image = craftQcow2({ clusters: new Map([[2, { data: pattern(1) }]]), ...options });
  change(image);
  return image.bytes;
}

test('a sound image of either version passes, and its facts are right', async () => {
  for (const version of [2, 3] as const) {
    const { bytes } = craftQcow2({
      version,
      clusters: new Map([
        [0, { data: pattern(1) }],
        [3, { compressed: pattern(2) }],
      ]),
    });
    const inspection = await withFile(bytes, (path) => inspectImage(path, { maximumVirtualBytes }));
    assert.is(inspection.format, 'qcow2');
    assert.is(inspection.virtualSizeBytes, 16 * clusterSize);
    assert.is(inspection.fileSizeBytes, bytes.length);
    assert.is(inspection.qcow2?.version, version);
    assert.is(inspection.qcow2?.allocatedBytes, 2 * clusterSize);
    assert.is(inspection.qcow2?.compressedBytes, clusterSize);
    assert.equal(inspection.qcow2?.unusual, []);
    assert.equal(inspection.partitions, []);
  }
});

const refusals: Record<string, { bytes: () => Buffer; expected: RegExp }> = {
  'a backing file': {
    bytes: () =>
      changed(({ bytes }) => {
        bytes.write('/etc/shadow', 512);
        bytes.writeBigUInt64BE(512n, 8);
        bytes.writeUInt32BE(11, 16);
      }),
    expected: /^image\.unsafe: .*backing file/,
  },
  'a place of snapshots that no boundary has': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(65_536n + 512n, 64)),
    expected: /^image\.corrupt: .*snapshots/,
  },
  'a place of snapshots beyond every file': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(1n << 63n, 64)),
    expected: /^image\.corrupt: .*snapshots/,
  },
  'the mark of a raw data file that is not there': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(2n, 88)),
    expected: /^image\.corrupt: .*raw data file/,
  },
  'a backing file whose name is empty': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(512n, 8)),
    expected: /^image\.unsafe: .*backing file/,
  },
  'the format of a backing file': {
    bytes: () => changed(() => {}, { extensions: extension(0xe2792aca, Buffer.from('raw')) }),
    expected: /^image\.unsafe: .*backing file/,
  },
  'an external data file by its feature bit': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(4n, 72)),
    expected: /^image\.unsafe: .*external file/,
  },
  'an external data file by its name alone': {
    bytes: () => changed(() => {}, { extensions: extension(0x44415441, Buffer.from('/etc/shadow')) }),
    expected: /^image\.unsafe: .*external file/,
  },
  'a header extension longer than the cluster': {
    bytes: () =>
      changed(({ bytes }) => {
        bytes.writeUInt32BE(0x6803f857, 112);
        bytes.writeUInt32BE(0xfffffff0, 116);
      }),
    expected: /^image\.corrupt: .*header extension/,
  },
  'dirty bitmaps': {
    bytes: () => changed(() => {}, { extensions: extension(0x23852875, Buffer.alloc(24)) }),
    expected: /^image\.unsupported: .*bitmaps/,
  },
  'AES encryption': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt32BE(1, 32)),
    expected: /^image\.unsupported: .*encrypted \(AES\)/,
  },
  'unknown features': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(1n << 63n, 72)),
    expected: /^image\.unsupported: .*0x8000000000000000/,
  },
  'an image that was not closed': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(1n, 72)),
    expected: /^image\.corrupt: .*not closed/,
  },
  'an image marked as corrupt': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(2n, 72)),
    expected: /^image\.corrupt: .*marked as corrupt/,
  },
  'an unknown compression': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt8(7, 104)),
    expected: /^image\.unsupported: .*method 7/,
  },
  'a compression that contradicts the feature bits': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt8(1, 104)),
    expected: /^image\.corrupt: .*contradict/,
  },
  'internal snapshots': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt32BE(2, 60)),
    expected: /^image\.unsupported: .*2 internal snapshots/,
  },
  'version 1': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt32BE(1, 4)),
    expected: /^image\.unsupported: .*version 1/,
  },
  'version 4': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt32BE(4, 4)),
    expected: /^image\.unsupported: .*qcow image of version 4/,
  },
  'clusters of 2^40 bytes': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt32BE(40, 20)),
    expected: /^image\.corrupt: .*2\^40/,
  },
  'a disk over the size limit': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(1n << 50n, 24)),
    expected: /^image\.too_large: .*1125899906842624/,
  },
  'a disk of 2^64 - 512 bytes': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE((1n << 64n) - 512n, 24)),
    expected: /^image\.too_large: .*18446744073709551104/,
  },
  'an L1 table that does not cover the disk': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt32BE(0, 36)),
    expected: /^image\.corrupt: .*L1 table of 0 entries/,
  },
  'an L1 table of 2^32 entries': {
    bytes: () => changed(({ bytes }) => bytes.writeUInt32BE(0xffffffff, 36)),
    expected: /^image\.corrupt: .*4294967295 entries/,
  },
  'an L1 table on the header': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(0n, 40)),
    expected: /^image\.corrupt: .*header/,
  },
  'an L1 table on the table of reference counts': {
    bytes: () => changed(({ bytes, refcountTableOffset }) => bytes.writeBigUInt64BE(BigInt(refcountTableOffset), 40)),
    expected: /^image\.corrupt: .*another use/,
  },
  'an L1 table beyond the end of the file': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE(1n << 40n, 40)),
    expected: /^image\.truncated: .*L1 table/,
  },
  'a table of reference counts beyond what a number can say': {
    bytes: () => changed(({ bytes }) => bytes.writeBigUInt64BE((1n << 64n) - 65536n, 48)),
    expected: /^image\.(corrupt|truncated): /,
  },
  'an L2 table between cluster boundaries': {
    bytes: () => changed(({ bytes, l1Offset, l2Offset }) => bytes.writeBigUInt64BE(BigInt(l2Offset + 512), l1Offset)),
    expected: /^image\.corrupt: .*boundary/,
  },
  'data on the L1 table': {
    bytes: () => changed(({ bytes, l1Offset, l2Offset }) => bytes.writeBigUInt64BE(BigInt(l1Offset), l2Offset)),
    expected: /^image\.corrupt: .*another use/,
  },
  'the same data in two places of the disk': {
    bytes: () => changed(({ bytes, l2Offset }) => bytes.copy(bytes, l2Offset, l2Offset + 16, l2Offset + 24)),
    expected: /^image\.corrupt: .*another use/,
  },
  'compressed data on the header': {
    bytes: () => changed(({ bytes, l2Offset }) => bytes.writeBigUInt64BE(1n << 62n, l2Offset)),
    expected: /^image\.corrupt: .*another use/,
  },
  'compressed data beyond the end of the file': {
    bytes: () => changed(({ bytes, l2Offset }) => bytes.writeBigUInt64BE((1n << 62n) | (1n << 45n), l2Offset)),
    expected: /^image\.truncated: .*data of disk offset 0/,
  },
  'a zero cluster in version 2': {
    bytes: () => changed(() => {}, { version: 2, clusters: new Map([[0, { zero: true }]]) }),
    expected: /^image\.corrupt: .*version 2/,
  },
  'data that nothing counts': {
    bytes: () => changed(({ bytes, refcountBlockOffset }) => bytes.writeUInt16BE(0, refcountBlockOffset + 10)),
    expected: /^image\.corrupt: .*counted 0 times/,
  },
  'a file that ends within its last cluster': {
    bytes: () => changed(() => {}).subarray(0, -1),
    expected: /^image\.truncated: .*cut off/,
  },
  'a file that ends within its header': {
    bytes: () => changed(() => {}).subarray(0, 90),
    expected: /^image\.truncated: .*header/,
  },
};

for (const [what, { bytes, expected }] of Object.entries(refusals)) {
  test(`refuses ${what}`, async () => {
    assert.match(await verdict(bytes()), expected);
  });
}

test('clusters that are counted too often are let pass, as QEMU lets them', async () => {
  assert.is(
    await verdict(changed(({ bytes, refcountBlockOffset }) => bytes.writeUInt16BE(9, refcountBlockOffset + 10))),
    'sound',
  );
});

test('features that only a full conversion handles are named', async () => {
  const bytes = changed((image) => image.bytes.writeBigUInt64BE(1n, 80));
  const { qcow2 } = await withFile(bytes, (path) => inspectImage(path, { maximumVirtualBytes }));
  assert.equal(qcow2?.unusual, ['lazy reference counts']);
});

for (const compression of ['zlib', 'zstd'] as const) {
  test(`reads plain, zero, missing and ${compression} clusters, across their borders`, async () => {
    const { bytes } = craftQcow2({
      compression,
      clusters: new Map([
        [0, { data: pattern(1) }],
        [1, { zero: true }],
        [2, { compressed: pattern(2) }],
        [4, { compressed: Buffer.alloc(clusterSize, 5) }],
      ]),
    });
    const expected = Buffer.concat([
      pattern(1),
      Buffer.alloc(clusterSize),
      pattern(2),
      Buffer.alloc(clusterSize),
      Buffer.alloc(clusterSize, 5),
      Buffer.alloc(11 * clusterSize),
    ]);
    await withFile(bytes, async (path) => {
      await using disk = await openDisk(path, await inspectImage(path, { maximumVirtualBytes }));
      assert.is(disk.sizeBytes, expected.length);
      assert.ok((await disk.read(0, expected.length)).equals(expected));
      assert.ok((await disk.read(100_001, 123_456)).equals(expected.subarray(100_001, 223_457)));
      assert.is((await disk.read(7, 0)).length, 0);
      try {
        await disk.read(expected.length - 1, 2);
        assert.unreachable('a read beyond the end of the disk is refused');
      } catch (thrown) {
        assert.instance(thrown, RangeError);
      }
    });
  });
}

test('reads subclusters: stored ones, zeros, and zeros for those that are not there', async () => {
  const entry = Buffer.alloc(16);
  const image = craftQcow2({
    extendedL2: true,
    clusters: new Map([
      [0, { data: pattern(3) }],
      [1, { entry }],
    ]),
  });
  // Of cluster 0, subcluster 0 stays, 1 is zero, 2 is missing; of cluster 1 there is only a zero subcluster.
  image.bytes.writeUInt32BE(0b010, image.l2Offset + 8);
  image.bytes.writeUInt32BE(0xfffffff9, image.l2Offset + 12);
  image.bytes.writeUInt32BE(1, image.l2Offset + 16 + 8);
  const expected = Buffer.concat([pattern(3), Buffer.alloc(clusterSize)]).fill(0, 2048, 3 * 2048);
  await withFile(image.bytes, async (path) => {
    await using disk = await openDisk(path, await inspectImage(path, { maximumVirtualBytes }));
    assert.ok((await disk.read(0, expected.length)).equals(expected));
    assert.ok((await disk.read(3000, 5000)).equals(expected.subarray(3000, 8000)));
  });
});

test('compressed data that is no compressed data is reported as damage', async () => {
  const { bytes } = craftQcow2({ clusters: new Map([[0, { compressed: pattern(1) }]]) });
  bytes.fill(0xff, 5 * clusterSize);
  await withFile(bytes, async (path) => {
    try {
      await using disk = await openDisk(path, { format: 'qcow2', virtualSizeBytes: 16 * clusterSize });
      await disk.read(0, 512);
      assert.unreachable('damaged data is not returned');
    } catch (thrown) {
      assert.instance(thrown, ImageBuilderError);
      assert.is((thrown as ImageBuilderError).code, 'image.corrupt');
    }
  });
});

for (const compression of ['zlib', 'zstd'] as const) {
  test(`every ${compression} cluster is read, and one that is damaged is found by its place on the disk`, async () => {
    const { signal } = new AbortController();
    const clusters = new Map(Array.from({ length: 9 }, (_, index) => [index, { compressed: pattern(index) }]));
    const { bytes } = craftQcow2({ compression, clusters });
    await withFile(bytes, (path) => checkContent(path, signal));
    const damaged = Buffer.from(bytes);
    damaged.fill(0xff, 12 * clusterSize, 12 * clusterSize + 512);
    const place = new RegExp(`^the qcow2 image is damaged: the cluster of disk offset ${7 * clusterSize} `);
    await withFile(damaged, async (path) => {
      await inspectImage(path, { maximumVirtualBytes });
      const { code, message } = await failure(checkContent(path, signal));
      assert.is(code, 'image.corrupt');
      assert.match(message, place);
    });
  });
}

test('a copy whose file another process removes while it is written is given up, and takes no room', async () => {
  await withFile(Buffer.alloc(0), async (path) => {
    const copyPath = `${path}.raw`;
    const copy = openContentCopy(copyPath, 2 * clusterSize);
    copy.write(pattern(1), 0);
    await using file = await open(copyPath, 'r');
    await rm(copyPath);
    copy.write(pattern(2), clusterSize);
    assert.is(await copy.finish(), 'its room was needed');
    assert.is((await file.stat()).blocks, 0);
  });
});

for (const compression of ['zlib', 'zstd'] as const) {
  test(`the uncompressed copy of a ${compression} image reads as its disk, zeros are holes, and damage ends it`, async () => {
    const { signal } = new AbortController();
    const clusters = new Map<number, { data: Buffer } | { compressed: Buffer } | { zero: true }>([
      [0, { compressed: pattern(1) }],
      [1, { data: pattern(2) }],
      [2, { zero: true }],
      [7, { compressed: Buffer.alloc(clusterSize) }],
      [9, { compressed: pattern(3) }],
    ]);
    const { bytes } = craftQcow2({ compression, clusters });
    await withFile(bytes, async (path) => {
      const copyPath = `${path}.raw`;
      const { checked, copied } = copyContent(path, copyPath, signal);
      await checked;
      assert.is(await copied, null);
      const inspection = await inspectImage(path, { maximumVirtualBytes });
      await using disk = await openDisk(path, inspection);
      assert.ok((await readFile(copyPath)).equals(await disk.read(0, inspection.virtualSizeBytes)));
      const { blocks, mode } = await stat(copyPath);
      assert.is(blocks * 512, 3 * clusterSize);
      assert.is(mode & 0o077, 0);
      // The copy is there already: the file is checked all the same.
      const again = copyContent(path, copyPath, signal);
      await again.checked;
      assert.match((await again.copied) ?? '', /EEXIST/);
      await rm(copyPath);
    });
    const damaged = Buffer.from(bytes);
    damaged.fill(0xff, 5 * clusterSize, 5 * clusterSize + 512);
    await withFile(damaged, async (path) => {
      const { checked, copied } = copyContent(path, `${path}.raw`, signal);
      assert.is((await failure(checked)).code, 'image.corrupt');
      assert.is((await failure(copied)).code, 'image.corrupt');
      await rm(`${path}.raw`);
    });
  });
}

test('reading the clusters ends when its signal aborts', async () => {
  const stop = new AbortController();
  const clusters = new Map(Array.from({ length: 9 }, (_, index) => [index, { compressed: pattern(index) }]));
  await withFile(craftQcow2({ clusters }).bytes, async (path) => {
    const reading = checkContent(path, stop.signal);
    const reason = new Error('stop');
    stop.abort(reason);
    assert.is(await reading.catch((thrown: unknown) => thrown), reason);
  });
});

test('there is a verdict whatever bytes are changed and wherever the file is cut', async () => {
  const clusters = new Map<number, { data: Buffer } | { compressed: Buffer } | { zero: true }>([
    [0, { data: pattern(1, 512) }],
    [1, { compressed: Buffer.alloc(512, 1) }],
    [2, { zero: true }],
    [5, { data: pattern(4, 512) }],
  ]);
  const image = craftQcow2({ clusterBits: 9, clusters });
  const expectedCodes = ['image.unsafe', 'image.unsupported', 'image.corrupt', 'image.too_large', 'image.truncated'];
  // Of the header every byte counts; of the tables the first entries.
  const interesting = [0, image.refcountTableOffset, image.refcountBlockOffset, image.l1Offset, image.l2Offset];
  const place = fc.tuple(fc.constantFrom(...interesting), fc.nat({ max: 119 })).map(([start, at]) => start + at);
  const value = fc.oneof(fc.constantFrom(0, 1, 2, 0x40, 0x80, 0xff), fc.nat({ max: 255 }));
  const seen = new Map<string, number>();
  await withFile(image.bytes, async (path) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(place, value), { minLength: 1, maxLength: 4 }),
        fc.option(fc.nat({ max: image.bytes.length }), { freq: 4 }),
        async (changes, length) => {
          const bytes = Buffer.from(image.bytes);
          for (const [at, byte] of changes) bytes[at] = byte;
          await using handle = await open(path, 'w');
          await handle.write(length === null ? bytes : bytes.subarray(0, length));
          let outcome = 'sound';
          try {
            const inspection = await inspectImage(path, { maximumVirtualBytes });
            await using disk = await openDisk(path, inspection);
            await disk.read(0, Math.min(disk.sizeBytes, 8192));
          } catch (thrown) {
            if (!(thrown instanceof ImageBuilderError)) throw thrown;
            outcome = thrown.code;
            assert.ok(expectedCodes.includes(outcome), outcome);
          }
          seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
        },
      ),
      { numRuns: 400 },
    );
  });
  assert.ok((seen.get('image.corrupt') ?? 0) > 0, 'the changes reach the checks');
});

test.run();
