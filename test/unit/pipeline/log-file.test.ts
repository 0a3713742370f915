import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLogFile } from '#lib/pipeline/log-file.ts';

let directory: string;
test.before.each(async () => {
  directory = await mkdtemp(join(tmpdir(), 'log-file-'));
});
test.after.each(() => rm(directory, { recursive: true, force: true }));

/** The lines of the log that the given ones become. */
async function written(lines: Iterable<string>, maximumBytes: number): Promise<string[]> {
  const file = createLogFile(directory, maximumBytes);
  for (const line of lines) file.add(line);
  const path = await file.finish();
  assert.is((await stat(path)).mode & 0o777, 0o600);
  return gunzipSync(await readFile(path))
    .toString()
    .split('\n')
    .slice(0, -1);
}

const numbered = (count: number) =>
  Array.from({ length: count }, (_, index) => `line ${String(index).padStart(9, '0')}`);

test('a log within its limit is kept line by line, also beyond the size of a block', async () => {
  const lines = numbered(60_000);
  assert.equal(await written(lines, 4 * 1024 ** 2), lines);
});

test('of a log that fits exactly, nothing is left out, and of one that is a little larger, little is', async () => {
  // A line has 15 bytes with its end.
  const lines = numbered(400);
  assert.equal(await written(lines, 400 * 15), lines);
});

test('of a larger log, the first half and at least the last quarter of the limit are kept, and a line counts the others', async () => {
  const lines = numbered(100_000);
  const limit = 30_000;
  const kept = await written(lines, limit);
  const mark = kept.findIndex((line) => line.startsWith('('));
  assert.is(mark, limit / 2 / 15);
  const tail = kept.slice(mark + 1);
  assert.equal(kept.slice(0, mark), lines.slice(0, mark));
  assert.equal(tail, lines.slice(-tail.length));
  assert.ok(tail.length >= limit / 4 / 15 && tail.length <= limit / 2 / 15, `${tail.length} lines`);
  assert.match(
    kept[mark] ?? '',
    `(${lines.length - mark - tail.length} lines left out here: the log is larger than IMAGEBUILDER_MAXIMUM_LOG)`,
  );
});

test.run();
