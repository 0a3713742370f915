import { open } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError, toImageBuilderError } from '#lib/errors.ts';
import { type IsoInspection, inspectIso } from '#lib/iso9660/inspect.ts';
import { readIsoFile, runOf } from '#lib/iso9660/read-file.ts';
import { parseRecord } from '#lib/iso9660/record.ts';
import { withFile } from '../image/temporary.ts';
import {
  blockBytes,
  blocks,
  both32,
  type CraftedIso,
  continuation,
  craftIso,
  layerContent,
  renderRecord,
} from './craft-iso.ts';

const maximumBytes = 2 ** 30;

async function inspect(bytes: Buffer): Promise<IsoInspection> {
  return await withFile(bytes, async (path) => {
    await using handle = await open(path, 'r');
    return await inspectIso(handle, { maximumBytes });
  });
}

async function verdict(bytes: Buffer): Promise<string> {
  try {
    await inspect(bytes);
    return 'sound';
  } catch (thrown) {
    const error = toImageBuilderError(thrown);
    return `${error.code}: ${error.message}`;
  }
}

test('a medium with Rock Ridge, Joliet and a boot image is described', async () => {
  const { bytes } = craftIso();
  const inspection = await inspect(bytes);
  assert.is(inspection.volumeId, 'CRAFTED');
  assert.is(inspection.uuid, '2026-11-26-01-02-03-04');
  assert.is(inspection.names, 'rock-ridge');
  assert.equal([...inspection.files.keys()].sort(), ['link', 'small', 'sub', 'sub/layer']);
  assert.equal(inspection.files.get('link')?.target, 'sub/layer');
  assert.equal(inspection.files.get('small')?.owner, { mode: 0o100444, uid: 0, gid: 0 });
  assert.equal([...(inspection.trees.joliet?.keys() ?? [])].sort(), ['small', 'sub', 'sub/layer']);
  assert.is(inspection.trees.enhanced, null);
  const image = { bootable: true, emulation: 'none', offsetBytes: blocks.bootImage * blockBytes, loadSegment: 0 };
  assert.equal(inspection.boot, {
    catalogueOffsetBytes: blocks.catalogue * blockBytes,
    entries: [
      { ...image, platform: 'bios', loadedBytes: 2048 },
      { ...image, platform: 'uefi', loadedBytes: 0 },
    ],
    ...{ mbr: null, gpt: null },
  });
});

test('the content of a file is read up to a limit, and its one run is named', async () => {
  await withFile(craftIso().bytes, async (path) => {
    await using handle = await open(path, 'r');
    const { files } = await inspectIso(handle, { maximumBytes });
    assert.is((await readIsoFile(handle, files, 'small', 5))?.toString(), 'hello');
    assert.is(await readIsoFile(handle, files, 'absent', 5), null);
    assert.is(await readIsoFile(handle, files, 'link', 5), null);
    const code = await readIsoFile(handle, files, 'small', 4).catch((error: ImageBuilderError) => error.code);
    assert.is(code, 'image.too_large');
    const run = { offsetBytes: blocks.layer * blockBytes, sizeBytes: layerContent.length };
    assert.equal(runOf(files, 'sub/layer'), run);
    assert.throws(() => runOf(files, 'sub'), /no file \/sub/);
  });
});

test('without Rock Ridge a medium has the names of Joliet, and without both those of ISO 9660 as Linux shows them', async () => {
  const withoutRockRidge = craftIso();
  withoutRockRidge.bytes.fill(0, fieldsAt(withoutRockRidge, '/'), fieldsAt(withoutRockRidge, '/') + 7);
  const joliet = await inspect(withoutRockRidge.bytes);
  assert.is(joliet.names, 'joliet');
  assert.equal([...joliet.files.keys()].sort(), ['small', 'sub', 'sub/layer']);
  withoutRockRidge.bytes.copyWithin(blocks.joliet * blockBytes, blocks.terminator * blockBytes, 20 * blockBytes);
  const plain = await inspect(withoutRockRidge.bytes);
  assert.is(plain.names, 'plain');
  assert.equal([...plain.files.keys()].sort(), ['link', 'small.txt', 'sub', 'sub/layer']);
});

test('a file beyond 4 GiB is one run of bytes, although it has several sections', async () => {
  const iso = craftIso();
  const firstBytes = 2 ** 32 - blockBytes;
  const restBytes = 5 * 2 ** 20 + 1;
  split(iso, blocks.layer + firstBytes / blockBytes, firstBytes, restBytes);
  const sizeBytes = (blocks.layer + 2 ** 21 + 4096) * blockBytes;
  for (const block of [blocks.primary, blocks.joliet]) {
    both32(sizeBytes / blockBytes).copy(iso.bytes, block * blockBytes + 80);
  }
  await withFile(iso.bytes, async (path) => {
    await using handle = await open(path, 'r+');
    await handle.truncate(sizeBytes);
    const { files } = await inspectIso(handle, { maximumBytes: 2 ** 33 });
    const run = { offsetBytes: blocks.layer * blockBytes, sizeBytes: firstBytes + restBytes };
    assert.equal(runOf(files, 'sub/layer'), run);
  });
});

test('sections of one file are joined, and pieces apart are no layer', async () => {
  const joined = craftIso();
  split(joined, blocks.layer + 1);
  const { files } = await inspect(joined.bytes);
  assert.equal(runOf(files, 'sub/layer'), { offsetBytes: blocks.layer * blockBytes, sizeBytes: layerContent.length });
  const apart = craftIso();
  split(apart, blocks.bootImage);
  const { files: pieces } = await inspect(apart.bytes);
  assert.is(pieces.get('sub/layer')?.sizeBytes, layerContent.length);
  assert.throws(() => runOf(pieces, 'sub/layer'), /in 2 pieces/);
});

/** Makes two sections out of `sub/layer`, the second of them at `secondBlock`. */
function split(
  iso: CraftedIso,
  secondBlock: number,
  firstBytes: number = blockBytes,
  restBytes = layerContent.length - blockBytes,
): void {
  const at = recordAt(iso, 'sub/layer');
  const length = iso.bytes.readUInt8(at);
  iso.bytes.copy(iso.bytes, at + length, at, at + length);
  iso.bytes[at + 25] = 0x80;
  both32(firstBytes).copy(iso.bytes, at + 10);
  both32(secondBlock).copy(iso.bytes, at + length + 2);
  both32(restBytes).copy(iso.bytes, at + length + 10);
}

function recordAt({ records }: CraftedIso, path: string): number {
  const at = records.get(path);
  assert.type(at, 'number', path);
  return at as number;
}

function fieldsAt({ fields }: CraftedIso, path: string): number {
  const at = fields.get(path);
  assert.type(at, 'number', path);
  return at as number;
}

const primaryAt = blocks.primary * blockBytes;
const catalogueAt = blocks.catalogue * blockBytes;

type Change = (iso: CraftedIso) => Buffer | undefined;
/** Sets bytes at an offset. */
const set =
  (offset: number | ((iso: CraftedIso) => number), ...values: number[]): Change =>
  (iso) => {
    iso.bytes.set(values, typeof offset === 'number' ? offset : offset(iso));
    return undefined;
  };
const inRecord = (path: string, offset: number, ...values: number[]) =>
  set((iso) => recordAt(iso, path) + offset, ...values);
const inFields = (path: string, offset: number, ...values: number[]) =>
  set((iso) => fieldsAt(iso, path) + offset, ...values);
const letters = (text: string) => [...Buffer.from(text, 'latin1')];

const refusals: Readonly<Record<string, readonly [Change, RegExp]>> = {
  'no descriptor': [set(primaryAt + 1, 0), /^image\.corrupt: .*sector 16/],
  'descriptors without an end': [set(blocks.terminator * blockBytes + 1, 0), /^image\.corrupt: .*have no end/],
  'a file that ends within its descriptors': [
    ({ bytes }) => bytes.subarray(0, 17 * blockBytes + 5),
    /^image\.truncated: .*within its volume descriptors/,
  ],
  'a file that ends within the volume': [
    ({ bytes }) => bytes.subarray(0, bytes.length - 1),
    /^image\.truncated: .*announces 65536 bytes, and the file has 65535/,
  ],
  'a descriptor of another type': [set(blocks.boot * blockBytes, 3), /^image\.unsupported: .*type 3/],
  'no primary descriptor': [
    ({ bytes }) => {
      bytes.copyWithin(primaryAt, blocks.boot * blockBytes, (blocks.boot + 1) * blockBytes);
      bytes.fill(0, blocks.boot * blockBytes + 7, blocks.boot * blockBytes + 20);
      return undefined;
    },
    /^image\.corrupt: .*no primary/,
  ],
  'two primary descriptors': [
    ({ bytes }) => {
      bytes.copyWithin(blocks.boot * blockBytes, primaryAt, primaryAt + blockBytes);
      return undefined;
    },
    /^image\.unsupported: .*two primary/,
  ],
  'seventeen descriptors': [
    ({ bytes }) => {
      const many = Buffer.concat([bytes, Buffer.alloc(20 * blockBytes)]);
      for (let block = 17; block < 40; block++) {
        many.fill(0, block * blockBytes, (block + 1) * blockBytes);
        many.write('\0CD001\x01', block * blockBytes, 'latin1');
      }
      return many;
    },
    /^image\.corrupt: .*more than 16 descriptors/,
  ],
  'blocks of 4096 bytes': [set(primaryAt + 128, 0, 16, 16, 0), /^image\.unsupported: .*4096 bytes/],
  'a volume size whose halves differ': [set(primaryAt + 87, 33), /^image\.corrupt: .*size of the primary volume/],
  'a set of volumes': [set(primaryAt + 120, 2, 0, 0, 2), /^image\.unsupported: .*several volumes/],
  'another character set': [set(blocks.joliet * blockBytes + 88, 0x41), /^image\.unsupported: .*character set/],
  'UDF beside ISO 9660': [set(blocks.root * blockBytes, ...letters('\0NSR02')), /^image\.unsupported: .*UDF/],
  'a root that is no folder': [set(primaryAt + 156 + 25, 0), /^image\.corrupt: .*root of its primary tree/],
  'a folder beyond the volume': [inRecord('sub', 2, ...both32(blocks.end)), /^image\.corrupt: .*\/sub\/ lies beyond/],
  'a folder with half a block': [inRecord('sub', 10, ...both32(2000)), /^image\.corrupt: .*no whole blocks/],
  'a folder of gigabytes': [inRecord('sub', 10, ...both32(2 ** 31)), /^image\.corrupt: .*\/sub\/ lies beyond/],
  'a folder within itself': [inRecord('sub', 2, ...both32(blocks.root)), /^image\.corrupt: .*two places/],
  'a folder that says it is elsewhere': [
    set(blocks.folder * blockBytes + 2, ...both32(blocks.small)),
    /^image\.corrupt: .*in another place/,
  ],
  'a folder without names for itself': [set(blocks.folder * blockBytes + 33, 7), /^image\.corrupt: .*name itself/],
  'an empty folder without them': [
    ({ bytes }) => bytes.fill(0, blocks.folder * blockBytes, (blocks.folder + 1) * blockBytes),
    /^image\.corrupt: .*name itself/,
  ],
  'a record shorter than its name': [inRecord('small', 32, 200), /^image\.corrupt: .*claims a name of 200/],
  'a record of one byte': [inRecord('small', 0, 1), /^image\.corrupt: .*claims 1 bytes/],
  'a size whose halves differ': [inRecord('small', 10, 6), /^image\.corrupt: .*size of a file is 6/],
  'a file beyond the volume': [inRecord('small', 10, ...both32(2 ** 30)), /^image\.corrupt: .*\/small lies beyond/],
  'interleaved files': [inRecord('small', 26, 1), /^image\.unsupported: .*interleaved/],
  'extended attributes': [inRecord('small', 1, 1), /^image\.unsupported: .*extended attribute/],
  'associated files': [inRecord('small', 25, 4), /^image\.unsupported: .*associated/],
  'a file of another volume': [inRecord('small', 28, 2, 0, 0, 2), /^image\.unsupported: .*another volume/],
  'a first section without a second': [inRecord('sub/layer', 25, 0x80), /^image\.corrupt: .*only some/],
  'a section of another file': [inRecord('link', 25, 0x80), /^image\.corrupt: .*only some/],
  'two files of one name': [() => craftIso('small').bytes, /^image\.corrupt: .*two files \/small/],
  'the name ..': [() => craftIso('..').bytes, /^image\.unsafe: .*"\.\."/],
  'the name of the folder above': [inFields('sub', 4, 4), /^image\.unsafe: .*folder above/],
  'a slash in a name': [inFields('small', 6, 0x2f), /^image\.unsafe: .*slash/],
  'a zero byte in a name': [inFields('small', 6, 0), /^image\.unsafe: .*zero byte/],
  'a zero byte in the target of a link': [
    (iso) => {
      iso.bytes[iso.bytes.indexOf('layer', fieldsAt(iso, 'link'))] = 0;
      return undefined;
    },
    /^image\.unsafe: .*target/,
  ],
  'a link without a target': [
    (iso) => {
      iso.bytes.write('XX', iso.bytes.indexOf('SL', fieldsAt(iso, 'link')), 'latin1');
      return undefined;
    },
    /^image\.corrupt: .*no target/,
  ],
  'a component that leaves its field': [
    (iso) => {
      iso.bytes[iso.bytes.indexOf('SL', fieldsAt(iso, 'link')) + 6] = 200;
      return undefined;
    },
    /^image\.corrupt: .*component/,
  ],
  'a field that leaves its record': [inFields('small', 2, 250), /^image\.corrupt: .*claims 250 bytes/],
  'a field without a length': [inFields('small', 2, 0), /^image\.corrupt: .*claims 0 bytes/],
  'a continuation that goes on for ever': [
    (iso) => {
      const at = blocks.continuation * blockBytes;
      continuation(blocks.continuation, 0, 28).copy(iso.bytes, at);
      both32(28).copy(iso.bytes, fieldsAt(iso, '/') + 7 + 36 + 20);
      return undefined;
    },
    /^image\.corrupt: .*for ever/,
  ],
  'a continuation beyond the volume': [
    inFields('/', 7 + 36 + 4, ...both32(blocks.end)),
    /^image\.corrupt: .*continuation area/,
  ],
  'a continuation beyond its block': [
    inFields('/', 7 + 36 + 12, ...both32(2040)),
    /^image\.corrupt: .*continuation area/,
  ],
  'an owner whose halves differ': [inFields('small', 10 + 4, 1), /^image\.corrupt: .*mode of a file/],
  'half a character in a Joliet name': [
    set(blocks.jolietRoot * blockBytes + 2 * 34 + 32, 13),
    /^image\.corrupt: .*half a character/,
  ],
  'a catalogue beyond the file': [
    set(blocks.boot * blockBytes + 71, ...both32(blocks.end).subarray(0, 4)),
    /^image\.corrupt: .*boot catalogue lies beyond/,
  ],
  'a catalogue without a validation': [set(catalogueAt, 2), /^image\.corrupt: .*validation entry/],
  'a catalogue with a wrong checksum': [set(catalogueAt + 10, 1), /^image\.corrupt: .*checksum/],
  'a catalogue with an entry of no known type': [set(catalogueAt + 32, 7), /^image\.corrupt: .*entry of type 7/],
  'a catalogue with a section of no known type': [set(catalogueAt + 64, 7), /^image\.corrupt: .*section of type 7/],
  'a section without an end': [
    set(catalogueAt + 66, 0xff, 0xff),
    /^image\.corrupt: .*entry of type|claims 65535 entries/,
  ],
  'a boot image beyond the file': [set(catalogueAt + 42, 1), /^image\.corrupt: .*boot image lies beyond/],
  'a boot image beyond the memory': [set(catalogueAt + 34, 0xff, 0xff), /^image\.corrupt: .*memory of the BIOS/],
  'a boot image of no known disk': [set(catalogueAt + 33, 9), /^image\.unsupported: .*pretends/],
  'a partition beyond the file': [
    ({ bytes }) => {
      bytes.writeUInt16LE(0xaa55, 510);
      bytes[446 + 4] = 0x83;
      bytes.writeUInt32LE(64, 446 + 8);
      bytes.writeUInt32LE(128, 446 + 12);
      return undefined;
    },
    /^image\.truncated: partition 1 of the medium ends at byte 98304/,
  ],
  'a GPT that is not there': [
    ({ bytes }) => {
      bytes.writeUInt16LE(0xaa55, 510);
      bytes[446 + 4] = 0xee;
      bytes.writeUInt32LE(1, 446 + 8);
      bytes.writeUInt32LE(127, 446 + 12);
      return undefined;
    },
    /^image\.corrupt: .*announces a GPT/,
  ],
};

for (const [what, [change, expected]] of Object.entries(refusals)) {
  test(`refused with its reason: ${what}`, async () => {
    const iso = craftIso();
    assert.match(await verdict(change(iso) ?? iso.bytes), expected);
  });
}

test('files that share bytes claim no more than the image holds', async () => {
  const bytes = Buffer.concat([craftIso().bytes, Buffer.alloc(60 * blockBytes)]);
  const volumeBlocks = bytes.length / blockBytes;
  for (const block of [blocks.primary, blocks.joliet]) both32(volumeBlocks).copy(bytes, block * blockBytes + 80);
  const claim = (block: number, at: number) => {
    both32(block).copy(bytes, at + 2);
    both32((volumeBlocks - 10) * blockBytes).copy(bytes, at + 10);
  };
  const iso = craftIso();
  claim(1, recordAt(iso, 'small'));
  claim(2, recordAt(iso, 'sub/layer'));
  assert.is(await verdict(bytes), 'sound');
  claim(3, blocks.jolietRoot * blockBytes + 2 * 34);
  assert.match(await verdict(bytes), /^image\.unsafe: .*claim/);
});

test('names of strangers cannot control the terminal of those who read a refusal', async () => {
  const iso = craftIso('\x1b[2J\nx');
  both32(blocks.end).copy(iso.bytes, recordAt(iso, 'sub') + 2);
  assert.match(
    await verdict(iso.bytes),
    /^image\.corrupt: [ -~]*: the folder \/ x\/ lies beyond the end of the volume$/,
  );
});

test('a record that crosses the end of its block is refused', () => {
  const record = renderRecord({ name: Buffer.from('NAME'), block: 20, sizeBytes: 5 });
  assert.is(parseRecord(Buffer.concat([Buffer.alloc(10), record]), 10).extent.offsetBytes, 20 * blockBytes);
  assert.throws(() => parseRecord(record.subarray(0, -1), 0), /claims 38 bytes where 37 are left/);
});

test('a file larger than allowed is refused before it is read, and an aborted signal ends the inspection', async () => {
  await withFile(craftIso().bytes, async (path) => {
    await using handle = await open(path, 'r');
    const refused = await inspectIso(handle, { maximumBytes: 1000 }).catch((error: ImageBuilderError) => error.code);
    assert.is(refused, 'image.too_large');
    const reason = new Error('stop');
    const stopped = inspectIso(handle, { maximumBytes, signal: AbortSignal.abort(reason) });
    assert.is(await stopped.catch((thrown: unknown) => thrown), reason);
  });
});

test('there is a verdict whatever bytes are changed and wherever the file is cut', async () => {
  const iso = craftIso();
  const expectedCodes = ['image.unsafe', 'image.unsupported', 'image.corrupt', 'image.truncated'];
  const starts = [
    ...[0, 446, 510, primaryAt, primaryAt + 80, primaryAt + 120, primaryAt + 156, catalogueAt],
    ...[blocks.boot, blocks.joliet, blocks.terminator, blocks.continuation].map((block) => block * blockBytes),
    ...[blocks.root, blocks.folder, blocks.jolietRoot].map((block) => block * blockBytes),
    ...iso.records.values(),
    ...iso.fields.values(),
  ];
  const place = fc.tuple(fc.constantFrom(...starts), fc.nat({ max: 99 })).map(([start, at]) => start + at);
  const value = fc.oneof(fc.constantFrom(0, 1, 2, 0x2f, 0x2e, 0x80, 0xff), fc.nat({ max: 255 }));
  const seen = new Map<string, number>();
  await withFile(iso.bytes, async (path) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(place, value), { minLength: 1, maxLength: 4 }),
        fc.option(fc.nat({ max: iso.bytes.length }), { freq: 4 }),
        async (changes, length) => {
          const bytes = Buffer.from(iso.bytes);
          for (const [at, byte] of changes) bytes[at] = byte;
          await using handle = await open(path, 'w+');
          await handle.write(length === null ? bytes : bytes.subarray(0, length));
          let outcome = 'sound';
          try {
            const { files } = await inspectIso(handle, { maximumBytes });
            for (const name of files.keys()) {
              assert.not(`/${name}/`.includes('/../'), name);
              await readIsoFile(handle, files, name, maximumBytes);
            }
          } catch (thrown) {
            if (!(thrown instanceof ImageBuilderError)) throw thrown;
            outcome = thrown.code;
            assert.ok(expectedCodes.includes(outcome), outcome);
          }
          seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
        },
      ),
      { numRuns: 400 },
    );
  });
  assert.ok((seen.get('image.corrupt') ?? 0) > 0, 'the changes reach the checks');
});

test.run();
