import { type Region, readPieces } from '../region.ts';
import type { MergePlan } from './plan.ts';

export interface MergeSources {
  readonly base: Region;
  readonly delta: Region;
}

/** The bytes of a planned archive, in pieces. Throws `image.truncated`, or the reason of the signal. */
export async function* mergedContent(
  { parts }: MergePlan,
  sources: MergeSources,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  for (const part of parts) {
    if (part.from === 'memory') yield part.bytes;
    else yield* readPieces(sources[part.from], part.start, part.end, signal);
  }
}
