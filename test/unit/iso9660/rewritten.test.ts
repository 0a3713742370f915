import { open } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { inspectIso } from '#lib/iso9660/inspect.ts';
import { rewrittenFiles } from '#lib/iso9660/rewritten.ts';
import { withFile } from '../image/temporary.ts';
import { blockBytes, blocks, craftIso } from './craft-iso.ts';

/** The files that hold addresses of blocks. */

/** Those of a medium whose boot images for BIOS and UEFI lie in these blocks. */
async function rewritten(bios: number, uefi: number): Promise<string[]> {
  const { bytes } = craftIso('live', { name: 'grub_eltorito', content: Buffer.alloc(blockBytes, 'x') });
  bytes.writeUInt32LE(bios, blocks.catalogue * blockBytes + 40);
  bytes.writeUInt32LE(uefi, blocks.catalogue * blockBytes + 104);
  return await withFile(bytes, async (path) => {
    await using handle = await open(path, 'r');
    return [...rewrittenFiles(await inspectIso(handle, { maximumBytes: 2 ** 30 }))];
  });
}

test('a boot image for BIOS is another on a new medium, whatever its name, and one for UEFI is not', async () => {
  assert.equal(await rewritten(blocks.layer, blocks.small), ['live/grub_eltorito']);
  assert.equal(await rewritten(blocks.small, blocks.layer), ['small']);
  assert.equal(await rewritten(blocks.bootImage, blocks.layer), []);
});

test.run();
