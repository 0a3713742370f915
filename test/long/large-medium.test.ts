import { mkdir, open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { readAt } from '#lib/image/read-at.ts';
import { runOf } from '#lib/iso9660/read-file.ts';
import { workshop } from '../system/replay-workshop.ts';

/** Media with files of more than 4 GiB, which ISO 9660 stores in several parts. They take 9 GB of disk. */

const largeBytes = 4 * 2 ** 30 + 2 ** 27 + 1234;
const layer = 'live/filesystem.squashfs';
const end = 'the end';

/** A medium with a large layer, and with another large file beside a small layer. */
async function makeMedium(folder: string, large: string): Promise<string> {
  const content = join(folder, 'content');
  await mkdir(join(content, 'live'), { recursive: true });
  await mkdir(join(content, 'pool'));
  await writeFile(join(content, layer), 'layer');
  await writeFile(join(content, large), end);
  await truncate(join(content, large), largeBytes - end.length);
  await writeFile(join(content, large), end, { flag: 'a' });
  const path = join(folder, 'base.iso');
  await exec('xorriso', [
    '-as',
    'mkisofs',
    '-quiet',
    '-iso-level',
    '3',
    '-r',
    '-J',
    '-V',
    'large',
    '-o',
    path,
    content,
  ]);
  return path;
}

const maximumBytes = 16 * 2 ** 30;

for (const [large, changed] of [
  ['pool/large.deb', layer],
  [layer, 'md5sum.txt'],
] as const) {
  test(`a medium with /${large} of more than 4 GiB gets a new /${changed}, and all else stays`, async () => {
    await using shop = await workshop((folder) => makeMedium(folder, large), { [changed]: 'new content' });
    await shop.replay({ maximumBytes });
    const made = await shop.compare({ maximumBytes });
    // One run of bytes, as the guests open layers.
    const { offsetBytes, sizeBytes } = runOf(made.files, large);
    assert.is(sizeBytes, largeBytes);
    await using handle = await open(shop.outputPath, 'r');
    assert.is(String(await readAt(handle, offsetBytes + sizeBytes - end.length, end.length)), end);
  });
}

test.run();
