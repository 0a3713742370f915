import { open, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createKnownLayers } from '#lib/kinds/cd/known-layers.ts';
import { openLayers } from '#lib/kinds/cd/open-layers.ts';
import { failure } from '../../../failure.ts';
import { fixture } from '../../../squashfs/fixtures.ts';
import { limits } from '../../../squashfs/make.ts';
import { temporaryFolder } from '../../image/temporary.ts';

/** A medium with the same layer at two places. */
async function writeMedium() {
  const folder = await temporaryFolder();
  const layer = fixture('gzip');
  const path = folder.file('medium');
  await writeFile(path, Buffer.concat([Buffer.alloc(100), layer, layer]));
  const file = (number: number) => ({ path, offsetBytes: 100 + number * layer.length, sizeBytes: layer.length });
  /** Spoils the tables of the first layer, so that it passes no inspection any more. */
  const spoil = async () => {
    await using handle = await open(path, 'r+');
    const tables = Number(layer.readBigUInt64LE(64));
    await handle.write(Buffer.alloc(layer.length - tables, 0xff), 0, layer.length - tables, 100 + tables);
  };
  return { path, file, spoil, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

test('a layer of the medium is inspected once, and its files are read where it was opened last', async () => {
  await using medium = await writeMedium();
  const known = createKnownLayers(medium.path, 2 ** 20);
  const names = async () => {
    await using opened = await openLayers([medium.file(0), medium.file(1)], limits, known);
    const [layer] = opened.layers;
    const file = [...(layer?.entries() ?? [])].find(({ inode }) => inode.type === 'file' && inode.sizeBytes > 0)?.inode;
    assert.ok(file?.type === 'file');
    assert.is((await layer?.read(file, file.sizeBytes))?.length, file.sizeBytes);
    return opened.layers.map((each) => [...each.entries()].map(({ path }) => path));
  };
  const before = await names();
  assert.ok(before[0]?.length);
  await medium.spoil();
  assert.equal(await names(), before);
  known.clear();
  assert.is((await failure(names())).code, 'image.corrupt');
});

test('other files and layers without room for their tables are inspected each time', async () => {
  for (const room of [
    ['another', 2 ** 20],
    ['medium', 10],
  ] as const) {
    await using medium = await writeMedium();
    const known = createKnownLayers(room[0] === 'medium' ? medium.path : '/another', room[1]);
    const look = async () => {
      await using _ = await openLayers([medium.file(0)], limits, known);
    };
    await look();
    await medium.spoil();
    assert.is((await failure(look())).code, 'image.corrupt', room[0]);
  }
});

test('known layers take of the memory for tables like others', async () => {
  await using medium = await writeMedium();
  const known = createKnownLayers(medium.path, 2 ** 20);
  const files = Array.from({ length: 1000 }, () => medium.file(0));
  const few = { ...limits, maximumTableBytes: 2 ** 16 };
  assert.is((await failure(openLayers(files, few, known))).code, 'image.too_large');
});

test.run();
