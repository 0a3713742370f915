import { corrupt, unsupported } from './refusals.ts';
import { metadataBytes, type Reference } from './superblock.ts';
import type { Tables } from './tables.ts';

/** One extended attribute. Each character of its name is one byte. */
export interface Attribute {
  readonly name: string;
  readonly value: Buffer;
}

/** Prefixes of names by their number. */
export const attributePrefixes = ['user.', 'trusted.', 'security.'] as const;
/** Set where the value is elsewhere, and its place is here. */
export const elsewhere = 0x100;
/** Limits of Linux, of names without their prefix and of values. */
const maximumNameBytes = 255;
const maximumValueBytes = 65_536;
const setBytes = 16;

/** Reads one set of extended attributes. Throws `image.corrupt`, or `image.unsupported` for unknown prefixes. */
export function parseAttributes(tables: Tables, index: number): readonly Attribute[] {
  if (tables.attributes === null) throw corrupt('it has no attributes');
  const { pairs, sets } = tables.attributes;
  const count = sets.readUInt32LE(setBytes * index + 8);
  let at = pairs.position(referenceAt(sets, setBytes * index));
  const { bytes } = pairs;
  const take = (length: number): number => {
    if (at + length > bytes.length) throw corrupt(`attributes ${index} are cut off`);
    at += length;
    return at - length;
  };
  const attributes: Attribute[] = [];
  const names = new Set<string>();
  for (let number = 0; number < count; number++) {
    const head = take(4);
    const kind = bytes.readUInt16LE(head);
    const prefix = attributePrefixes[kind & 0xff];
    if (prefix === undefined || (kind & ~(elsewhere | 0xff)) !== 0) {
      throw unsupported(`an extended attribute has the unknown type ${kind}`);
    }
    const nameBytes = bytes.readUInt16LE(head + 2);
    if (nameBytes === 0 || nameBytes > maximumNameBytes) {
      throw corrupt(`the name of an attribute has ${nameBytes} bytes`);
    }
    const nameAt = take(nameBytes);
    const name = prefix + bytes.toString('latin1', nameAt, nameAt + nameBytes);
    if (name.includes('\0')) throw corrupt('the name of an attribute has a zero byte');
    if (names.has(name)) throw corrupt(`attributes ${index} have one name twice`);
    names.add(name);
    const value = valueAt(bytes, take(4));
    const valuePlace = take(value);
    if ((kind & elsewhere) === 0) {
      attributes.push({ name, value: bytes.subarray(valuePlace, valuePlace + value) });
      continue;
    }
    if (value !== 8) throw corrupt('the place of the value of an attribute is cut off');
    const place = pairs.position(referenceAt(bytes, valuePlace));
    if (place + 4 > bytes.length) throw corrupt('the value of an attribute is cut off');
    const length = valueAt(bytes, place);
    if (place + 4 + length > bytes.length) throw corrupt('the value of an attribute is cut off');
    attributes.push({ name, value: bytes.subarray(place + 4, place + 4 + length) });
  }
  return attributes;
}

/** Bytes of a value. */
function valueAt(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32LE(at);
  if (length > maximumValueBytes) throw corrupt(`the value of an attribute has ${length} bytes`);
  return length;
}

function referenceAt(bytes: Buffer, at: number): Reference {
  const offset = bytes.readUInt16LE(at);
  const block = bytes.readUIntLE(at + 2, 6);
  if (offset >= metadataBytes) throw corrupt('a reference to attributes leads to nothing');
  return { block, offset };
}

/**
 * Reads all sets once. Sets do not share bytes, so that the work is linear in the size of the table. Throws as
 * `parseAttributes` does.
 */
export function checkAttributes(tables: Tables): void {
  if (tables.attributes === null) return;
  const { count, sets, pairs } = tables.attributes;
  let total = 0;
  for (let index = 0; index < count; index++) {
    // Each attribute has a head of four bytes, a name of one at least, and the length of its value.
    total += 9 * sets.readUInt32LE(setBytes * index + 8);
    if (total > pairs.bytes.length) throw corrupt('its attributes overlap each other');
    parseAttributes(tables, index);
  }
}
