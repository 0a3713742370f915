import { createHash } from 'node:crypto';
import { copyFile, open, readdir, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import { readAt } from '#lib/image/read-at.ts';
import { readIsoFile, runOf } from '#lib/iso9660/read-file.ts';
import { checkLayerRests, sameLayerData } from '#lib/kinds/cd/layer-data.ts';
import { verifyMedium } from '#lib/kinds/cd/verify.ts';
import { failure } from '../failure.ts';
import { makeHybridMedium } from './hybrid-medium.ts';
import { inspect, unprivilegedIds, workshop } from './replay-workshop.ts';
import { layer, splicedShop } from './spliced-shop.ts';

/** New media out of base media, by xorriso, and the check that nothing but the wanted files has changed. */

const upstream = (path: string) => async (folder: string) => {
  await copyFile(path, join(folder, 'base.iso'));
  return join(folder, 'base.iso');
};

const bases: Readonly<Record<string, readonly [make: (folder: string) => Promise<string>, changed: string]>> = {
  'GRUB for BIOS and UEFI, hybrid': [makeHybridMedium, 'casper/minimal.squashfs'],
  'isolinux and UEFI, hybrid of a network loader': [upstream('/usr/lib/ipxe/ipxe.iso'), 'isolinux.cfg'],
  'GRUB for BIOS (grub-rescue-pc)': [upstream('/usr/lib/grub-rescue/grub-rescue-cdrom.iso'), 'boot/grub/grub.cfg'],
};

const { signal } = new AbortController();

for (const [what, [make, changed]] of Object.entries(bases)) {
  test(`a medium with ${what} gets new content, and all else stays as it is byte for byte`, async () => {
    const content = 'new content '.repeat(400_000);
    await using shop = await workshop(make, { [changed]: content, 'added/file': 'added' });
    await shop.replay();
    const made = await shop.compare();
    assert.equal([...made.files.keys()].sort(), [...shop.base.files.keys(), 'added', 'added/file'].sort());
    assert.equal(made.files.get(changed)?.owner, shop.base.files.get(changed)?.owner);
    await using handle = await open(shop.outputPath, 'r');
    assert.is(String(await readIsoFile(handle, made.files, changed, 10_000_000)), content);
    assert.equal(await readdir(shop.workDirectory), ['new.iso']);
  });
}

test('a new medium with any other difference is not let through, and the difference is named', async () => {
  await using shop = await workshop(makeHybridMedium, { 'casper/minimal.size': '54321\n' });
  await shop.replay();
  const made = await shop.compare();
  const at = (path: string) => made.files.get(path)?.extents[0]?.offsetBytes ?? assert.unreachable(path) ?? 0;
  const esp = made.boot.gpt?.find(({ name }) => name === 'Appended2')?.offsetBytes ?? 0;
  const flips: readonly (readonly [offset: number, expected: RegExp])[] = [
    [at('casper/vmlinuz'), /\/casper\/vmlinuz has other content/],
    [at('casper/minimal.squashfs') + 2_999_999, /\/casper\/minimal\.squashfs has other content/],
    [at('boot/grub/i386-pc/eltorito.img') + 100, /eltorito\.img has other content/],
    [esp + 1_000_000, /EFI system partition/],
    [10, /MBR has other code/],
    [16 * 2048 + 41, /its volumeId is/],
  ];
  for (const [offset, expected] of flips) {
    await using handle = await open(shop.outputPath, 'r+');
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, offset);
    await handle.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, offset);
    const error = await failure(shop.compare());
    assert.is(error.code, 'image.output', String(expected));
    assert.match(error.message, expected);
    await handle.write(buffer, 0, 1, offset);
  }
  await shop.compare();
  const changed = new Set([...shop.files.keys(), 'casper/other']);
  assert.match((await failure(shop.compare({ changed }))).message, /\/casper\/other is missing/);
  const less = await failure(shop.compare({ changed: new Set() }));
  assert.match(less.message, /\/casper\/minimal\.size has other content/);
  const reason = new Error('cancelled');
  const stopped = shop.compare({ signal: AbortSignal.abort(reason) });
  assert.is(await stopped.catch((thrown: unknown) => thrown), reason);
  await truncate(shop.outputPath, 100_000);
  assert.is((await failure(shop.compare())).code, 'image.truncated');
});

test('data that a new layer shares with its base are placed on the new medium, and any other byte there is found', async () => {
  await using shop = await splicedShop(2_000_000);
  const { place, layers, compare } = shop;
  await shop.replay();
  const { trees, files } = await inspect(shop.outputPath);
  const room = runOf(files, layer);
  await using unfinished = await open(shop.outputPath, 'r');
  const empty = await readAt(unfinished, room.offsetBytes, room.sizeBytes);
  assert.ok(trees.joliet?.has(layer) && empty.every((byte) => byte === 0), 'a layer gets its room before its content');
  const digests = await shop.finish();
  const { made } = await compare();
  await using base = await open(shop.basePath, 'r');
  await using handle = await open(shop.outputPath, 'r+');
  const expected = Buffer.concat([
    Buffer.from('head'),
    await readAt(base, place.baseBytes, place.sizeBytes),
    Buffer.from('tables'),
  ]);
  assert.ok((await readIsoFile(handle, made.files, layer, expected.length))?.equals(expected));
  const md5 = createHash('md5').update(expected).digest('hex');
  assert.equal(digests, new Map([[layer, new Map([['md5', md5]])]]));
  assert.is(String(await readIsoFile(handle, made.files, 'md5sum.txt', 1000)), `${md5}  ./${layer}\n`);
  const check = async () => await checkLayerRests(handle, (await compare()).made.files, layers, signal);
  await check();
  for (const at of [0, 4, 1_000_000, 2_000_003, 2_000_009]) {
    const position = runOf(made.files, layer).offsetBytes + at;
    await handle.write(Buffer.from([(expected[at] ?? 0) ^ 1]), 0, 1, position);
    const { code, message } = await failure(check());
    assert.is(code, 'image.output', String(at));
    assert.is(message, `/${layer} of the new medium is not as it was written`);
    await handle.write(expected, at, 1, position);
  }
  await check();
  const shorter = new Map([...layers].map(([path, data]) => [path, { ...data, layerBytes: data.layerBytes - 1 }]));
  assert.is((await failure(shop.finish(shorter))).code, 'image.output');
  const refused = (async () => sameLayerData(made.files, shorter))();
  assert.is((await failure(refused)).code, 'image.output');
});

test('a worker that may not mount makes the same layer', async () => {
  await using shop = await splicedShop(2_000_000);
  await shop.replay();
  const expected = [...(await shop.finish())].map(([path, found]) => [path, ...found.values()]);
  const worker = join(import.meta.dirname, 'replay-worker.ts');
  const { stdout } = await exec('setpriv', ['--bounding-set=-sys_admin', '--', process.execPath, worker]);
  assert.equal(JSON.parse(stdout), expected);
});

test('of each byte, a new medium costs one reading and one writing, and its check one reading of both media', async () => {
  const sizeBytes = 64 * 2 ** 20;
  await using shop = await splicedShop(sizeBytes);
  await shop.replay();
  const finished = await countBytes(shop.finish);
  assert.ok(finished.read < 1.1 * sizeBytes, `${finished.read} bytes read`);
  assert.ok(finished.written < 1.1 * sizeBytes, `${finished.written} bytes written`);
  const checked = await countBytes(shop.compare);
  assert.ok(checked.read < 2.2 * sizeBytes, `${checked.read} bytes read`);
  const { checksums } = await hashFile(shop.outputPath);
  assert.equal(Object.fromEntries(checked.value.digests), checksums);
});

/** Bytes that this process reads and writes in system calls while it works. */
async function countBytes<Value>(work: () => Promise<Value>) {
  const count = async () => {
    const lines = (await readFile('/proc/self/io', 'utf8')).split('\n');
    return new Map(lines.map((line) => line.split(': ')).map(([name, value]) => [name, Number(value)]));
  };
  const before = await count();
  const value = await work();
  const after = await count();
  const [read = 0, written = 0] = ['rchar', 'wchar'].map((name) => (after.get(name) ?? 0) - (before.get(name) ?? 0));
  return { value, read, written };
}

test('a finished medium whose lists have a wrong digest of a new file is refused, and so is one without a sound layer', async () => {
  const content = 'no SquashFS';
  for (const [digest, expected] of [
    ['0'.repeat(32), /^\/md5sum\.txt of the new medium has a wrong digest of \/casper\/minimal\.squashfs$/],
    [createHash('md5').update(content).digest('hex'), /^the new medium is damaged: .*SquashFS/i],
  ] as const) {
    const layerPath = 'casper/minimal.squashfs';
    const list = `${digest}  ./${layerPath}\n`;
    await using shop = await workshop(makeHybridMedium, { [layerPath]: content, 'md5sum.txt': list });
    await shop.replay();
    const refused = verifyMedium(
      shop.outputPath,
      {
        base: { path: shop.basePath, iso: shop.base },
        deltas: [{ placed: { layer: layerPath, below: [] }, packages: { before: new Map(), after: new Map() } }],
        changed: new Set(shop.files.keys()),
        spliced: new Map(),
        layerDigests: new Map(),
        booted: [],
        workDirectory: shop.workDirectory,
      },
      { maximumContentBytes: 2 ** 30, maximumInodes: 1000, maximumTableBytes: 2 ** 20, unprivilegedIds, signal },
      () => {},
    );
    const { code, message } = await failure(refused);
    assert.is(code, 'image.output');
    assert.match(message, expected);
  }
});

test.run();
