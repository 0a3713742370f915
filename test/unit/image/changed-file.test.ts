import { open, readFile, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openChangedFile } from '#lib/image/changed-file.ts';
import { temporaryFolder } from './temporary.ts';

/** Copies that are changed in place, and what they still have in common with the file. */

const MiB = 2 ** 20;

async function changed(sizeBytes: number, writes: readonly { readonly position: number; readonly bytes: Buffer }[]) {
  await using folder = await temporaryFolder();
  const path = folder.file('copy');
  await writeFile(path, Buffer.alloc(sizeBytes, 1));
  await using handle = await open(path, 'r+');
  const file = openChangedFile(handle, sizeBytes);
  for (const { position, bytes } of writes) await file.write(bytes, position);
  return { runs: file.unchanged(), content: await readFile(path) };
}

test('a copy without changes has all bytes in common with its file', async () => {
  const { runs } = await changed(3 * MiB + 5, []);
  assert.equal(runs, [{ offsetBytes: 0, baseBytes: 0, sizeBytes: 3 * MiB + 5 }]);
});

test('long runs around the changes are in common, whose bytes are as they were', async () => {
  const bytes = Buffer.alloc(3, 2);
  const writes = [2 * MiB, 5 * MiB - 2, 6 * MiB - 70_000].map((position) => ({ position, bytes }));
  const { runs, content } = await changed(9 * MiB + 5, writes);
  assert.equal(
    runs.map(({ offsetBytes }) => offsetBytes),
    [0, 2 * MiB + 65_536, 6 * MiB - 65_536],
  );
  for (const { offsetBytes, baseBytes, sizeBytes } of runs) {
    assert.is(offsetBytes, baseBytes);
    assert.ok(content.subarray(offsetBytes, offsetBytes + sizeBytes).equals(Buffer.alloc(sizeBytes, 1)));
  }
});

test('bytes behind the end of the file are in common with none', async () => {
  const { runs, content } = await changed(2 * MiB + 10, [
    { position: 2 * MiB + 10, bytes: Buffer.alloc(200_000, 2) },
    { position: 4 * MiB, bytes: Buffer.alloc(10, 2) },
  ]);
  assert.is(content.length, 4 * MiB + 10);
  assert.equal(runs, [{ offsetBytes: 0, baseBytes: 0, sizeBytes: 2 * MiB }]);
});

test.run();
