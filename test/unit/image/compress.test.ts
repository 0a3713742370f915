import { createHash, randomBytes } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { type Compression, type CompressOptions, writeCompressed } from '#lib/image/compress.ts';
import { decompressFile } from '#lib/image/unwrap/decompress-file.ts';
import { testWith } from '../with-programs.ts';
import { temporaryFolder } from './temporary.ts';

/** Compression of finished archives: streamed, the same on every machine, and read by every program. */

const { unprivilegedIds } = loadConfig({}).tools;
const { signal } = new AbortController();
const options = { gzipLevel: 6, xzPreset: 1, xzThreads: 2, unprivilegedIds, signal } as const;
const limits = { maximumBytes: 2 ** 30, unprivilegedIds, signal, onProgress: () => undefined };

/** Some MiB, partly random, in pieces of odd sizes. */
const pieces = Array.from({ length: 150 }, (_, index) =>
  Buffer.concat([randomBytes(1 + 37 * index), Buffer.alloc(5000, `${index} text `)]),
);
const whole = Buffer.concat(pieces);

async function* content(given: readonly Buffer[] = pieces): AsyncGenerator<Buffer> {
  for (const piece of given) yield piece;
}

async function compressed(compression: Compression, given: Partial<CompressOptions> = {}, parts = pieces) {
  await using folder = await temporaryFolder();
  await writeCompressed(folder.file('packed'), content(parts), { ...options, compression, ...given });
  const bytes = await readFile(folder.file('packed'));
  if (compression === 'none') return { bytes, unpacked: bytes };
  await decompressFile(folder.file('packed'), compression, folder.file('unpacked'), limits);
  return { bytes, unpacked: await readFile(folder.file('unpacked')) };
}

for (const compression of ['gzip', 'zstd', 'xz', 'none'] as const) {
  testWith(...(compression === 'xz' ? ['xz'] : []))(`${compression}: the content is the same again`, async () => {
    for (const parts of [pieces, [], [Buffer.alloc(512 * 1024)], [Buffer.from('x')]]) {
      const { unpacked } = await compressed(compression, {}, parts);
      assert.ok(unpacked.equals(Buffer.concat(parts)));
    }
  });

  testWith(...(compression === 'xz' ? ['xz'] : []))(`${compression}: an error of the content is thrown`, async () => {
    await using folder = await temporaryFolder();
    const broken = new Error('broken');
    async function* failing() {
      yield* content();
      throw broken;
    }
    const path = folder.file('packed');
    const thrown = await writeCompressed(path, failing(), { ...options, compression }).catch((error) => error);
    assert.is(thrown, broken);
  });

  testWith(...(compression === 'xz' ? ['xz'] : []))(`${compression}: it ends with the signal`, async () => {
    await using folder = await temporaryFolder();
    const cancelled = new AbortController();
    async function* endless() {
      for (let count = 0; ; count += 1) {
        if (count === 20) cancelled.abort(new Error('cancelled'));
        yield randomBytes(100_000);
      }
    }
    const given = { ...options, compression, signal: cancelled.signal };
    const thrown = await writeCompressed(folder.file('packed'), endless(), given).catch((error) => error);
    assert.is(thrown, cancelled.signal.reason);
  });
}

test('gzip: one stream, as small as that of gzip, whatever pieces it comes in', async () => {
  const { bytes } = await compressed('gzip');
  assert.ok(gunzipSync(bytes).equals(whole));
  await using folder = await temporaryFolder();
  await writeCompressed(folder.file('raw'), content(), { ...options, compression: 'none' });
  const { stdout } = await exec('sh', ['-c', 'gzip -6 < "$1" | wc -c', 'sh', folder.file('raw')]);
  assert.ok(bytes.length < 1.01 * Number(stdout), `${bytes.length} bytes, ${stdout} by gzip`);
  // One member alone: its end is that of the file.
  assert.is(bytes.readUInt32LE(bytes.length - 4), whole.length);
  const again = await compressed('gzip', {}, [whole]);
  assert.ok(again.bytes.equals(bytes));
  assert.equal([...bytes.subarray(0, 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
  assert.is((await compressed('gzip', { gzipLevel: 9 })).bytes[8], 2);
});

testWith('xz')('xz: its threads do not change the result, and its preset does', async () => {
  const sums = [];
  for (const given of [{ xzThreads: 1 }, { xzThreads: 3 }, { xzPreset: 0 }]) {
    const { bytes } = await compressed('xz', given);
    sums.push(createHash('sha256').update(bytes).digest('hex'));
  }
  assert.is(sums[0], sums[1]);
  assert.is.not(sums[0], sums[2]);
});

testWith('xz', 'busybox')('busybox reads what is written', async () => {
  await using folder = await temporaryFolder();
  for (const [compression, command] of [
    ['gzip', 'zcat'],
    ['xz', 'xzcat'],
  ] as const) {
    const path = folder.file(compression);
    await writeCompressed(path, content(), { ...options, compression });
    await exec('sh', ['-c', `busybox ${command} < "$1" > "$1.out"`, 'sh', path]);
    assert.ok((await readFile(`${path}.out`)).equals(whole));
    assert.ok((await stat(path)).size > 0);
  }
});

test.run();
