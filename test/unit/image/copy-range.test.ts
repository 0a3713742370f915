import { open, readFile, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { areEqual, copyRanges, type FileRange, sliceRanges } from '#lib/image/copy-range.ts';
import { failure } from '../../failure.ts';
import { temporaryFolder } from './temporary.ts';

const { signal } = new AbortController();
/** More than two chunks, and no multiple of them. */
const size = 2 * 2 ** 20 + 777;

async function openPatterned() {
  const folder = await temporaryFolder();
  const bytes = Buffer.from(Array.from({ length: size }, (_, at) => (at * 31) % 251));
  await writeFile(folder.file('a'), bytes);
  const handle = await open(folder.file('a'), 'r+');
  const range = (offsetBytes: number, sizeBytes: number): FileRange => ({ handle, offsetBytes, sizeBytes });
  const dispose = async () => {
    await handle.close();
    await folder[Symbol.asyncDispose]();
  };
  return { folder, handle, bytes, range, [Symbol.asyncDispose]: dispose };
}

test('ranges are copied one behind the other', async () => {
  await using file = await openPatterned();
  await using output = await open(file.folder.file('b'), 'wx');
  await copyRanges([file.range(1_500_000, 3), file.range(7, size - 7)], output, 5, signal);
  const { bytes } = file;
  const expected = Buffer.concat([Buffer.alloc(5), bytes.subarray(1_500_000, 1_500_003), bytes.subarray(7)]);
  assert.ok((await readFile(file.folder.file('b'))).equals(expected));
});

test('contents are compared wherever their pieces begin, to the last byte', async () => {
  await using file = await openPatterned();
  const whole = [file.range(0, size)];
  const pieces = [0, 1, 4095, 2 ** 20 + 1, size].flatMap((start, index, all) =>
    index === 0 ? [] : [file.range(all[index - 1] ?? 0, start - (all[index - 1] ?? 0))],
  );
  assert.ok(await areEqual(whole, pieces, signal));
  assert.ok(await areEqual([], [], signal));
  assert.not.ok(await areEqual(whole, [file.range(0, size - 1)], signal));
  assert.not.ok(await areEqual([file.range(0, size - 1)], [file.range(1, size - 1)], signal));
  await writeFile(file.folder.file('b'), file.bytes);
  await using other = await open(file.folder.file('b'), 'r+');
  for (const at of [0, 2 ** 20, size - 1]) {
    await other.write(Buffer.from([(file.bytes[at] ?? 0) ^ 1]), 0, 1, at);
    assert.not.ok(await areEqual(pieces, [{ handle: other, offsetBytes: 0, sizeBytes: size }], signal), String(at));
    await other.write(file.bytes, at, 1, at);
  }
});

test('a part of several ranges is those bytes, and no more than there are', () => {
  const handle = {} as FileRange['handle'];
  const range = (offsetBytes: number, sizeBytes: number): FileRange => ({ handle, offsetBytes, sizeBytes });
  const ranges = [range(100, 10), range(0, 0), range(500, 20)];
  assert.equal(sliceRanges(ranges, 0, 30), [range(100, 10), range(500, 20)]);
  assert.equal(sliceRanges(ranges, 5, 12), [range(105, 5), range(500, 2)]);
  assert.equal(sliceRanges(ranges, 10, Number.POSITIVE_INFINITY), [range(500, 20)]);
  assert.equal(sliceRanges(ranges, 30, 40), []);
  assert.equal(sliceRanges(ranges, 4, 4), []);
});

test('a file that is shorter than its range is an error, and an aborted reading throws the reason', async () => {
  await using file = await openPatterned();
  const error = await failure(areEqual([file.range(0, size + 1)], [file.range(0, size), file.range(0, 1)], signal));
  assert.is(error.code, 'image.truncated');
  const stopped = areEqual([file.range(0, 1)], [file.range(0, 1)], AbortSignal.abort(new Error('cancelled')));
  assert.match(String(await stopped.catch((thrown: unknown) => thrown)), 'cancelled');
});

test.run();
