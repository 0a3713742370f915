/** Makes small ISO 9660 images whose every byte is known, so that tests can damage them. */

export const blockBytes = 2048;

/** Places of the crafted image's parts, in blocks. */
export const blocks = {
  ...{ primary: 16, boot: 17, joliet: 18, terminator: 19, root: 20, folder: 21, jolietRoot: 22, jolietFolder: 23 },
  ...{ catalogue: 24, continuation: 25, small: 26, layer: 27, bootImage: 30, end: 32 },
} as const;

export interface CraftedIso {
  readonly bytes: Buffer;
  /** Offset of the record of each path of the primary tree; of `/` for the root's record of itself. */
  readonly records: ReadonlyMap<string, number>;
  /** Offset of the fields of Rock Ridge in each of them. */
  readonly fields: ReadonlyMap<string, number>;
}

export interface CraftedRecord {
  readonly name: Buffer;
  readonly block: number;
  readonly sizeBytes: number;
  readonly flags?: number;
  readonly systemUse?: Buffer;
}

export const layerContent: Buffer = Buffer.from(
  Array.from({ length: 3 * blockBytes }, (_, index) => (index * 7) & 0xff),
);

/**
 * A medium with Rock Ridge, Joliet and one boot image: `sub/`, `sub/layer`, `link` to `sub/layer`, `small`. `folderName`
 * is the name of `sub` in Rock Ridge, `layer` what its file is named there and holds.
 */
export function craftIso(folderName = 'sub', layer = { name: 'layer', content: layerContent }): CraftedIso {
  const bytes = Buffer.alloc(blocks.end * blockBytes);
  const place = (block: number, content: Buffer) => content.copy(bytes, block * blockBytes);
  const records = new Map<string, number>();
  const fields = new Map<string, number>();
  const folder = (block: number, entries: readonly (CraftedRecord & { readonly path?: string })[]) => {
    let at = block * blockBytes;
    for (const { path, ...entry } of entries) {
      const record = renderRecord(entry);
      record.copy(bytes, at);
      if (path !== undefined) records.set(path, at);
      if (path !== undefined) fields.set(path, at + systemUseAt(entry.name));
      at += record.length;
    }
  };

  const text = (value: string) => Buffer.from(value, 'latin1');
  const rootUse = Buffer.concat([
    field('SP', [0xbe, 0xef, 0]),
    owner(0o040555),
    continuation(blocks.continuation, 0, 18),
  ]);
  const extension = field('ER', [10, 0, 0, 1, ...text('RRIP_1991A')]);
  place(blocks.continuation, extension);
  folder(blocks.root, [
    { path: '/', name: Buffer.from([0]), block: blocks.root, sizeBytes: blockBytes, flags: 2, systemUse: rootUse },
    { name: Buffer.from([1]), block: blocks.root, sizeBytes: blockBytes, flags: 2 },
    {
      ...{ path: 'link', name: text('LINK'), block: 0, sizeBytes: 0 },
      systemUse: Buffer.concat([
        named('link', 0o120777),
        field('SL', [0, 0, 3, ...text('sub'), 0, 5, ...text('layer')]),
      ]),
    },
    {
      ...{ path: 'small', name: text('SMALL.TXT;1'), block: blocks.small, sizeBytes: 5 },
      systemUse: named('small', 0o100444),
    },
    {
      ...{ path: 'sub', name: text('SUB'), block: blocks.folder, sizeBytes: blockBytes, flags: 2 },
      systemUse: named(folderName, 0o040555),
    },
  ]);
  folder(blocks.folder, [
    { name: Buffer.from([0]), block: blocks.folder, sizeBytes: blockBytes, flags: 2 },
    { name: Buffer.from([1]), block: blocks.root, sizeBytes: blockBytes, flags: 2 },
    {
      ...{ path: 'sub/layer', name: text('LAYER.;1'), block: blocks.layer, sizeBytes: layer.content.length },
      systemUse: named(layer.name, 0o100444),
    },
  ]);
  folder(blocks.jolietRoot, [
    { name: Buffer.from([0]), block: blocks.jolietRoot, sizeBytes: blockBytes, flags: 2 },
    { name: Buffer.from([1]), block: blocks.jolietRoot, sizeBytes: blockBytes, flags: 2 },
    { name: wide('small;1'), block: blocks.small, sizeBytes: 5 },
    { name: wide('sub'), block: blocks.jolietFolder, sizeBytes: blockBytes, flags: 2 },
  ]);
  folder(blocks.jolietFolder, [
    { name: Buffer.from([0]), block: blocks.jolietFolder, sizeBytes: blockBytes, flags: 2 },
    { name: Buffer.from([1]), block: blocks.jolietRoot, sizeBytes: blockBytes, flags: 2 },
    { name: wide('layer;1'), block: blocks.layer, sizeBytes: layer.content.length },
  ]);
  place(blocks.small, text('hello'));
  place(blocks.layer, layer.content);
  place(blocks.primary, descriptor(1, blocks.root, text('CRAFTED'.padEnd(32))));
  const joliet = descriptor(2, blocks.jolietRoot, wide('Crafted'.padEnd(16)));
  joliet.write('%/E', 88, 'latin1');
  place(blocks.joliet, joliet);
  const boot = header(0);
  boot.write('EL TORITO SPECIFICATION', 7, 'latin1');
  boot.writeUInt32LE(blocks.catalogue, 71);
  place(blocks.boot, boot);
  place(blocks.terminator, header(255));
  place(blocks.catalogue, catalogue());
  return { bytes, records, fields };
}

function header(type: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  block.writeUInt8(type, 0);
  block.write('CD001\x01', 1, 'latin1');
  return block;
}

function descriptor(type: number, rootBlock: number, volumeId: Buffer): Buffer {
  const block = header(type);
  volumeId.copy(block, 40);
  both32(blocks.end).copy(block, 80);
  for (const [offset, value] of [
    [120, 1],
    [124, 1],
    [128, blockBytes],
  ] as const) {
    block.writeUInt16LE(value, offset);
    block.writeUInt16BE(value, offset + 2);
  }
  renderRecord({ name: Buffer.from([0]), block: rootBlock, sizeBytes: blockBytes, flags: 2 }).copy(block, 156);
  block.write('2026112601020304', 813, 'latin1');
  return block;
}

function catalogue(): Buffer {
  const block = Buffer.alloc(blockBytes);
  block[0] = 1;
  block.writeUInt16LE(0x55aa, 28);
  block.writeUInt16LE(0xaa55, 30);
  block.writeUInt16LE((0x10000 - 0x55aa - 0xaa55 - 1 + 0x10000) & 0xffff, 28 - 24);
  const entry = (at: number, sectors: number) => {
    block[at] = 0x88;
    block.writeUInt16LE(sectors, at + 6);
    block.writeUInt32LE(blocks.bootImage, at + 8);
  };
  entry(32, 4);
  block.writeUInt16LE(0xef91, 64);
  block.writeUInt16LE(1, 66);
  entry(96, 0);
  return block;
}

export function renderRecord({ name, block, sizeBytes, flags = 0, systemUse }: CraftedRecord): Buffer {
  const start = systemUseAt(name);
  const used = start + (systemUse?.length ?? 0);
  const record = Buffer.alloc(used + (used & 1));
  record[0] = record.length;
  both32(block).copy(record, 2);
  both32(sizeBytes).copy(record, 10);
  record[25] = flags;
  record.writeUInt16LE(1, 28);
  record.writeUInt16BE(1, 30);
  record[32] = name.length;
  name.copy(record, 33);
  systemUse?.copy(record, start);
  return record;
}

/** A record's fields begin at an even byte. */
function systemUseAt(name: Buffer): number {
  return 33 + name.length + ((name.length + 1) & 1);
}

/** Writes a number with both of its halves. */
export function both32(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(value, 0);
  bytes.writeUInt32BE(value, 4);
  return bytes;
}

export function field(signature: string, data: readonly number[]): Buffer {
  return Buffer.concat([Buffer.from(signature, 'latin1'), Buffer.from([4 + data.length, 1, ...data])]);
}

export function continuation(block: number, offset: number, lengthBytes: number): Buffer {
  return field('CE', [...both32(block), ...both32(offset), ...both32(lengthBytes)]);
}

function owner(mode: number): Buffer {
  return field('PX', [...both32(mode), ...both32(1), ...both32(0), ...both32(0)]);
}

export function named(name: string, mode: number): Buffer {
  return Buffer.concat([field('NM', [0, ...Buffer.from(name)]), owner(mode)]);
}

export function wide(text: string): Buffer {
  return Buffer.from(text, 'utf16le').swap16();
}
