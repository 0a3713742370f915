import { createHash, randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toImageBuilderError } from '#lib/errors.ts';
import { hashFile } from '#lib/image/digest.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { craftGpt, linuxData } from './craft-table.ts';
import { foreignFiles } from './foreign-files.ts';
import { temporaryFolder, withFile } from './temporary.ts';

const maximumVirtualBytes = 2 ** 30;

async function verdict(content: Uint8Array): Promise<string> {
  return await withFile(content, async (path) => {
    try {
      return (await inspectImage(path, { maximumVirtualBytes })).format;
    } catch (thrown) {
      const error = toImageBuilderError(thrown);
      return `${error.code}: ${error.message}`;
    }
  });
}

for (const [what, { content, expected }] of Object.entries(foreignFiles)) {
  test(`names ${what} and what to do`, async () => {
    const found = await verdict(content);
    assert.match(found, /^image\.unsupported: /);
    assert.match(found, expected);
  });
}

test('a raw disk with partitions is an image, and one that was cut off is not', async () => {
  const disk = craftGpt([{ type: linuxData, first: 2048n, last: 3071n }]);
  assert.is(await verdict(disk), 'raw');
  assert.match(await verdict(disk.subarray(0, 2048 * 512)), /^image\.truncated: partition 1 ends at byte 1572864/);
});

test('a raw disk over the size limit is refused', async () => {
  const disk = craftGpt([{ type: linuxData, first: 2048n, last: 3071n }]);
  await withFile(disk, async (path) => {
    try {
      await inspectImage(path, { maximumVirtualBytes: disk.length - 1 });
      assert.unreachable('the limit holds');
    } catch (thrown) {
      assert.is(toImageBuilderError(thrown).code, 'image.too_large');
    }
  });
});

test('an aborted inspection throws the reason', async () => {
  const reason = new Error('stop');
  const controller = new AbortController();
  controller.abort(reason);
  const options = { maximumVirtualBytes, signal: controller.signal };
  const thrown = await withFile(craftGpt([]), (path) => inspectImage(path, options).catch((error: unknown) => error));
  assert.is(thrown, reason);
});

test('a file is hashed whole, whatever its size', async () => {
  for (const size of [0, 1, 2 ** 20, 2 ** 20 + 1, 3_000_000]) {
    const content = randomBytes(size);
    const progress: number[] = [];
    const result = await withFile(content, (path) =>
      hashFile(path, { onProgress: (current) => progress.push(current) }),
    );
    const hex = (algorithm: string) => createHash(algorithm).update(content).digest('hex');
    assert.equal(result, { sizeBytes: size, checksums: { sha256: hex('sha256'), sha512: hex('sha512') } });
    assert.is(progress.at(-1) ?? 0, size);
  }
});

test('hashing a file that is not there says so', async () => {
  await using folder = await temporaryFolder();
  const thrown = await hashFile(folder.file('nothing')).catch((error: NodeJS.ErrnoException) => error.code);
  assert.is(thrown, 'ENOENT');
});

test.run();
