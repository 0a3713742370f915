import type { Qcow2Header } from './header.ts';

/** The meaning of one entry of an L2 table, for one cluster of the disk. */
export type Cluster =
  | { readonly kind: 'unallocated' }
  /** Reads as zeros; `hostOffset` is where room is reserved for it, 0 for none. */
  | { readonly kind: 'zero'; readonly hostOffset: number }
  /** Stored as it is. With extended L2 entries, `subclusters` holds the two 32-bit halves of the bitmap. */
  | { readonly kind: 'data'; readonly hostOffset: number; readonly subclusters?: Subclusters }
  /** Compressed; its data end at most at `hostOffset + maximumBytes`. */
  | { readonly kind: 'compressed'; readonly hostOffset: number; readonly maximumBytes: number }
  | { readonly kind: 'invalid'; readonly why: string };

/** Bit n of `allocated` and of `zero` is about subcluster n, a 32nd of the cluster. */
export interface Subclusters {
  readonly allocated: number;
  readonly zero: number;
}

const unallocated: Cluster = { kind: 'unallocated' };
const zero: Cluster = { kind: 'zero', hostOffset: 0 };

/** Bytes of one entry of an L2 table. */
export function entryBytes(header: Qcow2Header): 8 | 16 {
  return header.extendedL2 ? 16 : 8;
}

/**
 * The entry at byte `position` of an L2 table. Offsets are at most 2^62 and are exact wherever they can lie in a file;
 * the caller checks that they do.
 */
export function readEntry(table: Buffer, position: number, header: Qcow2Header): Cluster {
  const high = table.readUInt32BE(position);
  const low = table.readUInt32BE(position + 4);
  if ((high & 0x40000000) !== 0) {
    // 62 - (clusterBits - 8) bits of offset, of which the low half is the low word; above them the sectors.
    const offsetBitsInHigh = 62 - (header.clusterBits - 8) - 32;
    const hostOffset = (high & (2 ** offsetBitsInHigh - 1)) * 2 ** 32 + low;
    const additionalSectors = ((high & 0x3fffffff) >>> offsetBitsInHigh) & (2 ** (header.clusterBits - 8) - 1);
    return { kind: 'compressed', hostOffset, maximumBytes: (additionalSectors + 1) * 512 - (hostOffset % 512) };
  }
  const hostOffset = (high & 0x00ffffff) * 2 ** 32 + (low - (low % 512));
  const zeroFlag = (low & 1) !== 0;
  if (hostOffset % header.clusterSizeBytes !== 0)
    return { kind: 'invalid', why: 'does not begin on a cluster boundary' };
  if (header.extendedL2) {
    const subclusters = { zero: table.readUInt32BE(position + 8), allocated: table.readUInt32BE(position + 12) };
    if ((subclusters.zero & subclusters.allocated) !== 0) {
      return { kind: 'invalid', why: 'has subclusters that are both zero and allocated' };
    }
    if (hostOffset === 0 && subclusters.allocated !== 0)
      return { kind: 'invalid', why: 'has subclusters without a place' };
    if (hostOffset === 0 && subclusters.zero === 0) return unallocated;
    return { kind: 'data', hostOffset, subclusters };
  }
  if (zeroFlag && header.version === 2)
    return { kind: 'invalid', why: 'is marked as zero, which version 2 does not know' };
  if (zeroFlag) return hostOffset === 0 ? zero : { kind: 'zero', hostOffset };
  return hostOffset === 0 ? unallocated : { kind: 'data', hostOffset };
}
