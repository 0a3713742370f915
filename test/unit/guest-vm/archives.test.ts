import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeCpio } from '#lib/guest/vm/cpio.ts';
import { type IsoFiles, writeIso } from '#lib/guest/vm/iso9660.ts';

test('a cpio archive has every kind of entry as newc defines it, and ends with the trailer', () => {
  const archive = writeCpio([
    { kind: 'folder', path: 'bin', mode: 0o755 },
    { kind: 'file', path: 'bin/sh', mode: 0o755, content: Buffer.from('12345') },
    { kind: 'link', path: 'bin/ls', mode: 0o777, target: 'sh' },
    { kind: 'device', path: 'console', mode: 0o600, major: 5, minor: 1 },
  ]);
  const entries: string[] = [];
  let place = 0;
  while (place < archive.length) {
    assert.is(archive.toString('latin1', place, place + 6), '070701');
    const fields = Array.from({ length: 13 }, (_, index) =>
      Number.parseInt(archive.toString('latin1', place + 6 + index * 8, place + 14 + index * 8), 16),
    );
    const [, mode = 0, , , , , size = 0, , , major, minor, nameBytes = 0] = fields;
    const name = archive.toString('latin1', place + 110, place + 110 + nameBytes - 1);
    place = Math.ceil((place + 110 + nameBytes) / 4) * 4;
    entries.push(`${name} ${mode.toString(8)} ${major},${minor} ${archive.toString('latin1', place, place + size)}`);
    place = Math.ceil((place + size) / 4) * 4;
  }
  assert.equal(entries, [
    'bin 40755 0,0 ',
    'bin/sh 100755 0,0 12345',
    'bin/ls 120777 0,0 sh',
    'console 20600 5,1 ',
    'TRAILER!!! 0 0,0 ',
  ]);
});

interface Read {
  readonly [path: string]: string;
}

/** Reads an ISO 9660 file system as Linux does: from the root's record in the descriptor, names from NM. */
function readIso(image: Buffer): Read {
  assert.is(image.toString('latin1', 16 * 2048 + 1, 16 * 2048 + 6), 'CD001');
  const found: Record<string, string> = {};
  const walk = (extent: number, size: number, path: string) => {
    assert.is(size % 2048, 0);
    for (let place = 0; place < size; ) {
      const at = extent * 2048 + place;
      const bytes = image.readUInt8(at);
      if (bytes === 0) {
        place = Math.ceil((place + 1) / 2048) * 2048;
        continue;
      }
      assert.ok((place % 2048) + bytes <= 2048, 'a record reaches over the end of a sector');
      const nameBytes = image.readUInt8(at + 32);
      const use = at + 33 + nameBytes + (nameBytes % 2 === 0 ? 1 : 0);
      if (image.toString('latin1', use, use + 2) === 'NM') {
        const name = image.toString('utf8', use + 5, use + image.readUInt8(use + 2));
        const [below, belowSize] = [image.readUInt32LE(at + 2), image.readUInt32LE(at + 10)];
        assert.is(image.readUInt32BE(at + 6), below);
        if (image.readUInt8(at + 25) === 2) walk(below, belowSize, `${path}${name}/`);
        else found[path + name] = image.toString('latin1', below * 2048, below * 2048 + belowSize);
      }
      place += bytes;
    }
  };
  const root = 16 * 2048 + 156;
  const rootExtent = image.readUInt32LE(root + 2);
  assert.is(image.toString('latin1', rootExtent * 2048 + 34, rootExtent * 2048 + 36), 'SP');
  walk(rootExtent, image.readUInt32LE(root + 10), '');
  return found;
}

async function withFolder(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-iso-'));
  try {
    await body(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function isoOf(directory: string, files: IsoFiles): Promise<Buffer> {
  const path = join(directory, 'disk.iso');
  await using target = await open(path, 'w');
  const size = await writeIso(target, files);
  const image = await readFile(path);
  assert.is(image.length, size);
  return image;
}

test('an ISO 9660 file system holds what was put in, in as many folders and sectors as it takes', async () => {
  await withFolder(async (directory) => {
    await writeFile(join(directory, 'source'), 'x'.repeat(5000));
    const expected: Record<string, string> = { start: 'go', empty: '', 'a/b/c/d': 'deep', 'a/copy': 'x'.repeat(5000) };
    for (let number = 0; number < 300; number += 1)
      expected[`a/many/${number}-${'é'.repeat(number % 90)}`] = String(number);
    const files = new Map(
      Object.entries(expected).map(([path, text]) => [
        path,
        path === 'a/copy' ? { copyOf: join(directory, 'source') } : Buffer.from(text),
      ]),
    );
    const found = readIso(await isoOf(directory, files));
    assert.equal(Object.keys(found).sort(), Object.keys(expected).sort());
    for (const [path, text] of Object.entries(expected)) assert.is(found[path], text, path);
  });
});

for (const [what, path, message] of [
  ['is too long', 'n'.repeat(201), /too long a name/],
  ['leads upwards', 'a/../b', /no name of a file/],
  ['is empty', 'a//b', /no name of a file/],
] as const) {
  test(`a name that ${what} is refused`, async () => {
    await withFolder(async (directory) => {
      const failed = await isoOf(directory, new Map([[path, Buffer.from('')]])).catch((error: Error) => error.message);
      assert.match(String(failed), message);
    });
  });
}

test.run();
