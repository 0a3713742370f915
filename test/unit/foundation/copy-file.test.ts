import { chmod, mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cloneFile, copySparse } from '#lib/copy-file.ts';

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-copy-file-'));
const { signal } = new AbortController();
const length = 4 * 2 ** 20;
const from = join(directory, '-from');
{
  await using file = await open(from, 'w');
  await file.write(Buffer.from('a disk'), 0, 6, 0);
  await file.write(Buffer.from('its end'), 0, 7, length - 7);
}
await chmod(from, 0o444);

const copies = {
  cloneFile: (to: string) => cloneFile(from, to, signal),
  copySparse: (to: string) => copySparse(from, to, { signal }),
};
for (const [name, copy] of Object.entries(copies)) {
  test(`${name}: a copy has all bytes and the holes, and can be written to where the file cannot`, async () => {
    const to = join(directory, name);
    await copy(to);
    assert.ok((await readFile(to)).equals(await readFile(from)));
    const { blocks, mode } = await stat(to);
    assert.ok(blocks * 512 < length / 2, `${blocks} blocks`);
    assert.is(mode & 0o200, 0o200);
  });
}

test('a copy that is cancelled throws the reason', async () => {
  const reason = new Error('cancelled');
  const to = join(directory, 'cancelled');
  const thrown = await cloneFile(from, to, AbortSignal.abort(reason)).catch((error: unknown) => error);
  assert.is(thrown, reason);
});

test.after(() => rm(directory, { recursive: true }));

test.run();
