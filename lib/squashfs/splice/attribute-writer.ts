import { createHash } from 'node:crypto';
import { type Attribute, attributePrefixes, elsewhere } from '../attributes.ts';
import { createTableWriter, referenceOf, type TableWriter } from './table-writer.ts';

/** Extended attributes of the result: each set once, and each longer value once. */
export interface AttributeWriter {
  /** Index of a set; null for an empty one. */
  add(attributes: readonly Attribute[]): number | null;
  readonly pairs: TableWriter;
  readonly sets: TableWriter;
  readonly count: number;
}

/** A reference takes eight bytes. */
const leastSharedBytes = 9;

export function createAttributeWriter(): AttributeWriter {
  const pairs = createTableWriter();
  const sets = createTableWriter();
  const known = new Map<string, number>();
  /** Places of values, by their digests. */
  const values = new Map<string, number>();
  const writeOne = ({ name, value }: Attribute) => {
    const prefix = attributePrefixes.findIndex((each) => name.startsWith(each));
    const own = name.slice(attributePrefixes[prefix]?.length ?? 0);
    const key = value.length < leastSharedBytes ? null : digest([value]);
    const place = key === null ? undefined : values.get(key);
    pairs.uint16(place === undefined ? prefix : prefix | elsewhere);
    pairs.uint16(own.length);
    pairs.text(own);
    if (key !== null && place === undefined) values.set(key, pairs.size);
    pairs.uint32(place === undefined ? value.length : 8);
    if (place === undefined) pairs.bytes(value);
    else pairs.uint64(referenceOf(place));
  };
  return {
    pairs,
    sets,
    get count() {
      return known.size;
    },
    add(attributes) {
      if (attributes.length === 0) return null;
      const parts = attributes.flatMap(({ name, value }) => [
        Buffer.from(`${value.length} ${name}\0`, 'latin1'),
        value,
      ]);
      const key = digest(parts);
      const before = known.get(key);
      if (before !== undefined) return before;
      const start = pairs.size;
      for (const attribute of attributes) writeOne(attribute);
      sets.uint64(referenceOf(start));
      sets.uint32(attributes.length);
      sets.uint32(pairs.size - start);
      known.set(key, known.size);
      return known.size - 1;
    },
  };
}

function digest(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('base64');
}
