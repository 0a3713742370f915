import type { FileHandle } from 'node:fs/promises';
import type { CommonRun } from '../common-run.ts';
import { ImageBuilderError } from '../errors.ts';
import { sizeOfRanges } from '../image/copy-range.ts';
import { readInto } from '../image/read-at.ts';
import { longRuns } from '../image/shared-runs.ts';
import type { Extent } from './volume.ts';

/** The comparison of a medium with its base while somebody reads the medium from its start to its end. */

/** Bytes that must be the same on a base and on a new medium. */
export interface SameBytes {
  /** Places in the base, one behind the other. */
  readonly base: readonly Extent[];
  /** Places in the new medium, likewise. */
  readonly made: readonly Extent[];
  /** Message of the error where they are not. */
  readonly fault: string;
}

export interface ByteComparison {
  /** Compares the bytes at `atBytes` of the new medium; the calls go from its start to its end. Throws `image.output`. */
  check(chunk: Buffer, atBytes: number): Promise<void>;
}

/** The runs that are longer than 1 MiB. Throws as `createByteComparison` does. */
export function sharedRuns(same: Iterable<SameBytes>): CommonRun[] {
  const runs = pairUp(same).map(({ offsetBytes, sizeBytes, shiftBytes }) => ({
    ...{ offsetBytes, sizeBytes, baseBytes: offsetBytes + shiftBytes },
  }));
  return longRuns(runs);
}

/** One run of bytes on both. */
interface Pair extends Extent {
  /** In the new medium, as `offsetBytes` is. */
  readonly endBytes: number;
  /** Added to a place in the new medium, it is the place in the base. */
  readonly shiftBytes: number;
  readonly fault: string;
}

/** Throws `image.output` where two parts are not equally large. */
export function createByteComparison(base: FileHandle, same: Iterable<SameBytes>): ByteComparison {
  const pairs = pairUp(same);
  let next = 0;
  /** Pairs that began in an earlier chunk and have not ended. */
  let open: Pair[] = [];
  let space = Buffer.alloc(0);
  return {
    async check(chunk, atBytes) {
      const endBytes = atBytes + chunk.length;
      const concerned = open;
      for (let pair = pairs[next]; pair !== undefined && pair.offsetBytes < endBytes; pair = pairs[++next]) {
        concerned.push(pair);
      }
      open = concerned.filter((pair) => pair.endBytes > endBytes);
      // Neighbours have mostly been moved together: one reading of the base serves them all.
      for (const group of byShift(concerned)) {
        const from = Math.max(atBytes, Math.min(...group.map((pair) => pair.offsetBytes)));
        const to = Math.min(endBytes, Math.max(...group.map((pair) => pair.endBytes)));
        if (space.length < to - from) space = Buffer.allocUnsafe(chunk.length);
        const wanted = space.subarray(0, to - from);
        await readInto(base, wanted, from + (group[0]?.shiftBytes ?? 0));
        for (const pair of group) {
          const [start, end] = [Math.max(from, pair.offsetBytes), Math.min(to, pair.endBytes)];
          const found = chunk.subarray(start - atBytes, end - atBytes);
          if (!found.equals(wanted.subarray(start - from, end - from))) {
            throw new ImageBuilderError('image.output', pair.fault);
          }
        }
      }
    },
  };
}

/** All runs in the order of their places on the new medium, each once, with the first fault that is given for it. */
function pairUp(same: Iterable<SameBytes>): readonly Pair[] {
  const pairs = new Map<string, Pair>();
  for (const { base, made, fault } of same) {
    if (sizeOfRanges(base) !== sizeOfRanges(made)) throw new ImageBuilderError('image.output', fault);
    const [ones, others] = [base.values(), made.values()];
    let [one, other] = [ones.next().value, others.next().value];
    let [doneOne, doneOther] = [0, 0];
    while (one !== undefined && other !== undefined) {
      const sizeBytes = Math.min(one.sizeBytes - doneOne, other.sizeBytes - doneOther);
      const offsetBytes = other.offsetBytes + doneOther;
      const shiftBytes = one.offsetBytes + doneOne - offsetBytes;
      if (sizeBytes > 0) {
        const pair = { offsetBytes, sizeBytes, endBytes: offsetBytes + sizeBytes, shiftBytes, fault };
        const key = `${offsetBytes} ${sizeBytes} ${shiftBytes}`;
        if (!pairs.has(key)) pairs.set(key, pair);
      }
      doneOne += sizeBytes;
      doneOther += sizeBytes;
      if (doneOne === one.sizeBytes) [one, doneOne] = [ones.next().value, 0];
      if (other !== undefined && doneOther === other.sizeBytes) [other, doneOther] = [others.next().value, 0];
    }
  }
  return [...pairs.values()].sort((one, other) => one.offsetBytes - other.offsetBytes);
}

function byShift(pairs: readonly Pair[]): Iterable<readonly Pair[]> {
  return Map.groupBy(pairs, ({ shiftBytes }) => shiftBytes).values();
}
