import { Readable } from 'node:stream';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withoutEmptyPages } from '#lib/guest/vm/empty-pages.ts';

const pageBytes = 4096;
const flags = { empty: 0x02, sizes: 0x04, page: 0x08, end: 0x10, sameBlock: 0x20 };

interface PageRecord {
  readonly block: string;
  readonly address: number;
  /** The byte that the page is full of; `content` where it has several. */
  readonly byte: number | 'content';
}

const word = (address: number, flag: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(address + flag));
  return bytes;
};
const uint32 = (...numbers: number[]) => {
  const bytes = Buffer.alloc(4 * numbers.length);
  for (const [index, number] of numbers.entries()) bytes.writeUInt32BE(number, 4 * index);
  return bytes;
};
const name = (text: string) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
const content = Buffer.alloc(pageBytes, 'content');

/** As QEMU writes records: one names its block where that is not the block of the last. */
function writeRecords(records: readonly PageRecord[], last: { block: string }): Buffer {
  return Buffer.concat(
    records.flatMap(({ block, address, byte }) => {
      const kind = byte === 'content' ? flags.page : flags.empty;
      const isSame = block === last.block;
      last.block = block;
      return [
        word(address, kind | (isSame ? flags.sameBlock : 0)),
        ...(isSame ? [] : [name(block)]),
        byte === 'content' ? content : Buffer.from([byte]),
      ];
    }),
  );
}

const blocks = { 'pc.ram': 64 * pageBytes, 'pc.bios': 64 * pageBytes };
const devices = Buffer.concat([Buffer.from([4]), uint32(9), name('timer'), uint32(0, 2), Buffer.alloc(99, 'devices')]);

/** A state with these sections of records, the last of which is the end of the memory. */
function writeState(parts: readonly (readonly PageRecord[])[], rest: Buffer = devices): Buffer {
  const last = { block: '' };
  const footer = Buffer.concat([Buffer.from([0x7e]), uint32(2)]);
  const sizes = Object.entries(blocks).flatMap(([block, bytes]) => [name(block), word(bytes, 0)]);
  return Buffer.concat([
    uint32(0x5145564d, 3),
    ...[Buffer.from([7]), uint32(10), Buffer.from('pc-q35-7.2')],
    ...[Buffer.from([1]), uint32(2), name('ram'), uint32(0, 4)],
    ...[
      word(
        Object.values(blocks).reduce((sum, bytes) => sum + bytes),
        flags.sizes,
      ),
      ...sizes,
      word(0, flags.end),
      footer,
    ],
    ...parts.flatMap((records, index) => [
      ...[Buffer.from([index === parts.length - 1 ? 3 : 2]), uint32(2)],
      ...[writeRecords(records, last), word(0, flags.end), footer],
    ]),
    rest,
  ]);
}

async function filter(state: Buffer, pieceBytes = state.length): Promise<Buffer> {
  const pieces = Array.from({ length: Math.ceil(state.length / pieceBytes) }, (_, index) =>
    state.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
  return Buffer.concat(await Array.fromAsync(withoutEmptyPages(Readable.from(pieces))));
}

const ram = (address: number, byte: PageRecord['byte']): PageRecord => ({
  block: 'pc.ram',
  address: address * pageBytes,
  byte,
});
const firmware = (address: number, byte: PageRecord['byte']): PageRecord => ({
  ...ram(address, byte),
  block: 'pc.bios',
});

test('empty pages of the memory are left out, and all else stays', async () => {
  const state = writeState([
    [ram(0, 0), ram(1, 'content'), ram(2, 0), ram(3, 1)],
    [firmware(0, 0), firmware(1, 'content')],
  ]);
  const expected = writeState([
    [ram(1, 'content'), ram(3, 1)],
    [firmware(0, 0), firmware(1, 'content')],
  ]);
  assert.ok((await filter(state)).equals(expected));
  assert.ok((await filter(expected)).equals(expected));
});

test('a page that is empty after it had content stays', async () => {
  const state = writeState([
    [ram(0, 'content'), ram(1, 0)],
    [ram(0, 0), ram(1, 0)],
  ]);
  assert.ok((await filter(state)).equals(writeState([[ram(0, 'content')], [ram(0, 0)]])));
});

test('a record names its block where the one that did is left out', async () => {
  const state = writeState([[firmware(0, 0), ram(0, 0), ram(1, 'content')], [ram(2, 0)], [firmware(1, 0), ram(3, 1)]]);
  const kept = [[firmware(0, 0), ram(1, 'content')], [], [firmware(1, 0), ram(3, 1)]];
  assert.ok((await filter(state)).equals(writeState(kept)));
});

test('states come out alike in whatever pieces they come', async () => {
  const record = fc.record({
    block: fc.constantFrom('pc.ram', 'pc.bios'),
    address: fc.nat({ max: 5 }).map((number) => number * pageBytes),
    byte: fc.constantFrom(0, 0, 7, 'content' as const),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(record, { maxLength: 12 }), { minLength: 1 }),
      fc.integer({ min: 1, max: 9000 }),
      async (parts, pieceBytes) => {
        const filtered = await filter(writeState(parts), pieceBytes);
        const kept = readRecords(filtered);
        assert.equal(memoryOf(kept), memoryOf(parts.flat()));
        // One in a section may stay for the name of its block.
        const needless = parts.flat().length - withoutNeedless(parts.flat()).length;
        assert.ok(parts.flat().length - kept.length >= needless - parts.length);
        assert.ok(filtered.subarray(-devices.length).equals(devices));
      },
    ),
    { numRuns: 60 },
  );
});

/** The content of pages that are not empty in the end. */
function memoryOf(records: readonly PageRecord[]): ReadonlyMap<string, PageRecord['byte']> {
  const memory = new Map(records.map(({ block, address, byte }) => [`${block} ${address}`, byte]));
  return new Map([...memory].filter(([key, byte]) => !key.startsWith('pc.ram') || byte !== 0).sort());
}

function withoutNeedless(records: readonly PageRecord[]): PageRecord[] {
  const filled = new Set<number>();
  return records.filter(({ block, address, byte }) => {
    if (block !== 'pc.ram') return true;
    if (byte === 0 && !filled.has(address)) return false;
    filled.add(address);
    return true;
  });
}

/** All records of a state, each with its block, as QEMU reads them. */
function readRecords(state: Buffer): PageRecord[] {
  const sizes = Object.keys(blocks).reduce((sum, block) => sum + 1 + block.length + 8, 8);
  const [opening, closing] = [8 + 5 + 10 + 5 + 4 + 8 + sizes + 8 + 5, 8 + 5];
  const records: PageRecord[] = [];
  let at = opening;
  let block = '';
  for (let type = state[at]; type === 2 || type === 3; type = state[at]) {
    at += 5;
    for (let opened = state.readBigUInt64BE(at); opened !== BigInt(flags.end); opened = state.readBigUInt64BE(at)) {
      const [address, flag] = [Number(opened) - (Number(opened) % pageBytes), Number(opened) % pageBytes];
      at += 8;
      if ((flag & flags.sameBlock) === 0) {
        block = state.toString('latin1', at + 1, at + 1 + (state[at] ?? 0));
        at += 1 + block.length;
      }
      const isPage = (flag & flags.page) !== 0;
      records.push({ block, address, byte: isPage ? 'content' : (state[at] ?? 0) });
      at += isPage ? pageBytes : 1;
    }
    at += closing;
  }
  return records;
}

test('what is not known is passed on as it is, and so is all behind it', async () => {
  const known = [ram(0, 0), firmware(0, 0), ram(1, 0)];
  const unknown = Buffer.concat([word(pageBytes, 0x40 | flags.sameBlock), Buffer.alloc(5000, 'compressed'), devices]);
  const state = writeState([known], unknown);
  const withUnknown = Buffer.concat([state.subarray(0, -unknown.length - 13), unknown]);
  // The last record that was left out names the block for what follows.
  const kept = writeState([[firmware(0, 0), ram(1, 0)]], unknown);
  assert.ok((await filter(withUnknown)).equals(Buffer.concat([kept.subarray(0, -unknown.length - 13), unknown])));

  // So does the last one of a section.
  const part = (type: number, section: number) => Buffer.concat([Buffer.from([type]), uint32(section)]);
  const others = writeState([[firmware(0, 0), ram(0, 0)], [ram(1, 0)]]);
  others.fill(part(2, 7), others.lastIndexOf(part(3, 2)), others.lastIndexOf(part(3, 2)) + 5);
  assert.ok((await filter(others)).equals(others));

  const [header, first] = [state.subarray(0, 8), state.subarray(8)];
  for (const [title, other] of [
    ['another form of state', Buffer.concat([uint32(0x5145564d, 4), first])],
    ['another section in front', Buffer.concat([header, Buffer.from([1]), uint32(1), name('block'), state])],
    ['a setting in front', Buffer.concat([header, Buffer.from([5]), name('configuration/capabilities'), first])],
    ['no state at all', Buffer.from('nothing')],
    ['nothing', Buffer.alloc(0)],
  ] as const) {
    assert.ok((await filter(other)).equals(other), title);
  }
});

test('a state that is cut off anywhere still says nothing else', async () => {
  const whole = [ram(0, 0), firmware(0, 0), ram(1, 0), ram(2, 'content')];
  const state = writeState([whole], Buffer.alloc(0));
  const filtered = await filter(state);
  for (let bytes = 0; bytes < state.length - 13; bytes += bytes < 250 ? 1 : 97) {
    const cut = state.subarray(0, bytes);
    const kept = await filter(cut);
    assert.ok(kept.length <= cut.length, String(bytes));
    assert.not.ok(kept.equals(filtered));
  }
});

test.run();
