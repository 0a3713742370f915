import { type FileHandle, open } from 'node:fs/promises';
import type { CommonRun } from '../common-run.ts';
import { writeAll } from '../write-all.ts';
import { copyRanges, type FileRange } from './copy-range.ts';
import { hashRanges } from './hash-ranges.ts';

/** Runs of bytes that an image has in common with its base image: with the base, the rest of the image is all of it. */

/** All of an image but its shared runs, in one file. */
export interface Rest {
  /** In the order of their places, none of which overlap. */
  readonly shared: readonly CommonRun[];
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** Shorter ones are not worth a place in the list, which is so bounded by the size of the image. */
const leastBytes = 2 ** 20;

/** Those of the runs that are long, each byte of the image in one of them only. */
export function longRuns(runs: Iterable<CommonRun>): CommonRun[] {
  const long: CommonRun[] = [];
  let end = 0;
  for (const run of [...runs].sort((one, other) => one.offsetBytes - other.offsetBytes)) {
    if (run.sizeBytes < leastBytes || run.offsetBytes < end) continue;
    long.push(run);
    end = run.offsetBytes + run.sizeBytes;
  }
  return long;
}

/** Writes all of an image but its shared runs to a new file. Throws as `readRanges` does. */
export async function writeRest(
  imagePath: string,
  shared: readonly CommonRun[],
  restPath: string,
  signal: AbortSignal,
): Promise<Rest> {
  await using image = await open(imagePath, 'r');
  await using output = await open(restPath, 'wx', 0o600);
  const { size } = await image.stat();
  const ranges = gaps(shared, size).map((gap) => ({ handle: image, ...gap }));
  let sizeBytes = 0;
  const digests = await hashRanges(ranges, new Set(['sha256']), {
    signal,
    async onChunk(chunk, atBytes) {
      await writeAll(output, chunk, atBytes);
      sizeBytes += chunk.length;
    },
  });
  return { shared, sizeBytes, sha256: digests.get('sha256') ?? '' };
}

/** Puts an image of `sizeBytes` together again, in a new file. Throws as `readRanges` does. */
export async function joinRest(
  {
    restPath,
    basePath,
    targetPath,
  }: { readonly restPath: string; readonly basePath: string; readonly targetPath: string },
  { shared }: Rest,
  sizeBytes: number,
  signal: AbortSignal,
): Promise<void> {
  await using rest = await open(restPath, 'r');
  await using base = await open(basePath, 'r');
  await using target = await open(targetPath, 'wx');
  await copyRanges(wholeOf(rest, base, shared, sizeBytes), target, 0, signal);
}

function wholeOf(rest: FileHandle, base: FileHandle, shared: readonly CommonRun[], sizeBytes: number): FileRange[] {
  let restBytes = 0;
  const own = gaps(shared, sizeBytes).map((gap) => {
    const offsetBytes = restBytes;
    restBytes += gap.sizeBytes;
    return { at: gap.offsetBytes, handle: rest, offsetBytes, sizeBytes: gap.sizeBytes };
  });
  const others = shared.map((run) => ({
    ...{ at: run.offsetBytes, handle: base, offsetBytes: run.baseBytes, sizeBytes: run.sizeBytes },
  }));
  return [...own, ...others].sort((one, other) => one.at - other.at);
}

/** The places of an image that are in none of the runs. */
function gaps(shared: readonly CommonRun[], sizeBytes: number): Pick<CommonRun, 'offsetBytes' | 'sizeBytes'>[] {
  const found: Pick<CommonRun, 'offsetBytes' | 'sizeBytes'>[] = [];
  let at = 0;
  for (const run of [...shared, { offsetBytes: sizeBytes, sizeBytes: 0 }]) {
    if (run.offsetBytes > at) found.push({ offsetBytes: at, sizeBytes: run.offsetBytes - at });
    at = run.offsetBytes + run.sizeBytes;
  }
  return found;
}
