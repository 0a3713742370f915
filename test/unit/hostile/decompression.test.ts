import { deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseRecords } from '#lib/apt/outside/records.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { decompressCluster } from '#lib/image/qcow2/decompress.ts';

/**
 * What this process itself decompresses never becomes larger than it may be. (Nothing that comes by HTTP is
 * decompressed, which http/client.test.ts shows; compressed base images are refused, which image/format.test.ts does.)
 */

const bomb = Buffer.alloc(200 * 2 ** 20);

async function failure(work: () => unknown): Promise<ImageBuilderError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ImageBuilderError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

test('a cluster of an image that is more than a cluster is refused', async () => {
  for (const [method, data] of [
    ['zlib', deflateRawSync(bomb)],
    ['zstd', zstdCompressSync(bomb)],
  ] as const) {
    const before = process.memoryUsage().arrayBuffers;
    const error = await failure(() => decompressCluster(data, method, 65_536));
    assert.is(error.code, 'image.corrupt');
    assert.ok(process.memoryUsage().arrayBuffers - before < bomb.length / 2);
  }
});

test('package data of an image that is more than can be taken in is refused', async () => {
  const lines = gzipSync(bomb)
    .toString('base64')
    .match(/.{1,76}/g);
  const error = await failure(() => parseRecords(lines ?? []));
  assert.is(error.code, 'image.too_large');
});

test.run();
