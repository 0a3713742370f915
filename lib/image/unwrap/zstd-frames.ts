import { pipeline, Readable } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';
import { ImageBuilderError } from '../../errors.ts';

/** Parts of an input that a stream may not have taken yet. */
interface Feed {
  readonly parts: Buffer[];
  /** Place of the first of them, counted from where the stream began. */
  at: number;
}

/** More than any compressor makes: each costs a stream. */
const maximumFrames = 1_000_000;

/**
 * Decompresses a zstd file of any number of frames (RFC 8878), as `pzstd` and `cat` make them. Node's own stream ends with the
 * first one and drops what follows. Throws Node's errors for damaged data, and `image.unsupported` for too many frames.
 */
export async function* decompressZstd(source: AsyncIterable<Buffer>, chunkSize: number): AsyncGenerator<Buffer> {
  const input = source[Symbol.asyncIterator]();
  let left: readonly Buffer[] = [];
  for (let frames = 0; ; frames += 1) {
    if (frames > maximumFrames) {
      throw new ImageBuilderError('image.unsupported', `the zstd file has more than ${maximumFrames} frames`);
    }
    if (left.length === 0) {
      const next = await input.next();
      if (next.done === true) return;
      left = [next.value];
    }
    const stream = createZstdDecompress({ chunkSize });
    const feed: Feed = { parts: [], at: 0 };
    const given = giveParts(left, input, feed, () => stream.bytesWritten);
    // An error of the source ends the stream, whose iteration throws it.
    pipeline(Readable.from(given), stream, () => undefined);
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk;
    // Waits for the part that it may be reading.
    await given.return();
    left = withoutTaken(feed, stream.bytesWritten);
  }
}

/** These parts, and then those of the input. `feed` remembers those that are not known to be taken. */
async function* giveParts(
  first: readonly Buffer[],
  input: AsyncIterator<Buffer>,
  feed: Feed,
  takenBytes: () => number,
): AsyncGenerator<Buffer, void, undefined> {
  feed.parts.push(...first);
  yield* first;
  for (;;) {
    const next = await input.next();
    if (next.done === true) return;
    const taken = takenBytes();
    for (let part = feed.parts[0]; part !== undefined && feed.at + part.length <= taken; part = feed.parts[0]) {
      feed.parts.shift();
      feed.at += part.length;
    }
    feed.parts.push(next.value);
    yield next.value;
  }
}

/** The parts behind the bytes that the stream has taken. */
function withoutTaken({ parts, at }: Feed, takenBytes: number): Buffer[] {
  const left: Buffer[] = [];
  let place = at;
  for (const part of parts) {
    const rest = part.subarray(Math.max(0, takenBytes - place));
    if (rest.length > 0) left.push(rest);
    place += part.length;
  }
  return left;
}
