import { type FileHandle, open } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';
import type { Range } from '../image/unwrap/decompress.ts';

/** The files that probe.sh hands out: each behind a line `SIZE NAME`. The image chooses all of it. */
export interface Bundle extends AsyncDisposable {
  readonly file: FileHandle;
  readonly names: readonly string[];
  /** Where the bytes of a file lie in `file`; null where it was not handed out. */
  range(name: string): Range | null;
  /** The bytes of a small file; null where it was not handed out, or is larger. */
  read(name: string, maximumBytes?: number): Promise<Buffer | null>;
}

const maximumNameBytes = 4096;
const maximumFiles = 5000;
const smallBytes = 16 * 2 ** 20;

/** Throws `image.unsupported` where the bundle is not one: a program of the image has meddled with it. */
export async function openBundle(path: string): Promise<Bundle> {
  const file = await open(path, 'r');
  const ranges = new Map<string, Range>();
  try {
    const { size } = await file.stat();
    for (let at = 0; at < size; ) {
      const head = Buffer.alloc(Math.min(maximumNameBytes, size - at));
      await file.read(head, 0, head.length, at);
      const end = head.indexOf('\n');
      const match = /^(\d{1,15}) (.+)$/.exec(head.toString('utf8', 0, Math.max(0, end)));
      const [, digits = '', name = ''] = match ?? [];
      const range = { offset: at + end + 1, sizeBytes: Number(digits) };
      if (match === null || range.offset + range.sizeBytes > size || ranges.size >= maximumFiles) {
        throw new ImageBuilderError(
          'image.unsupported',
          'the image does not hand out its boot files for the boot check',
        );
      }
      if (!ranges.has(name)) ranges.set(name, range);
      at = range.offset + range.sizeBytes;
    }
  } catch (error) {
    await file.close();
    throw error;
  }
  return {
    file,
    names: [...ranges.keys()],
    range: (name) => ranges.get(name) ?? null,
    async read(name, maximumBytes = smallBytes) {
      const range = ranges.get(name);
      if (range === undefined || range.sizeBytes > maximumBytes) return null;
      const bytes = Buffer.alloc(range.sizeBytes);
      await file.read(bytes, 0, bytes.length, range.offset);
      return bytes;
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}
