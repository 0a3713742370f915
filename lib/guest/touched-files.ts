/** The files of an image that a build has made or changed outside dpkg's knowledge. scripts/touched.sh finds them. */

/** A file that is no folder. */
export interface TouchedFile {
  /** Its absolute path, as the bytes that the image has. */
  readonly path: Uint8Array;
  readonly type: TouchedType;
  /** Permissions with the bits for set-user-id, set-group-id and sticky, in octal digits: `644`, `4755`. */
  readonly mode: string;
  /** 0 for files without content of their own. */
  readonly sizeBytes: number;
}

export interface TouchedFiles {
  /** False where there are others too: the list has its bounds, and a folder may be one that cannot be read. */
  readonly isComplete: boolean;
  readonly files: readonly TouchedFile[];
}

/** By the letters of `find -printf %y`. */
const types = { f: 'file', l: 'link', p: 'pipe', s: 'socket', b: 'block-device', c: 'character-device' } as const;
export type TouchedType = (typeof types)[keyof typeof types];

/** Most bytes that scripts/touched.sh writes: 3 MiB of lines, and 256 KiB of paths with line breaks. */
export const maximumTouchedBytes = 4 * 2 ** 20;

/**
 * Parses what scripts/touched.sh has written, up to the zero byte that scripts/copyright.sh begins with; `end` is the place
 * behind that. `touched` is null where the image's tools could not make the list. The image has a say in it: lines of
 * another form are left out, and make the list incomplete.
 */
export function parseTouched(output: Uint8Array): { readonly touched: TouchedFiles | null; readonly end: number } {
  const files: TouchedFile[] = [];
  let isComplete = true;
  let at = 0;
  /** The bytes up to the next `separator`, or null where none comes. */
  const next = (separator: number) => {
    const end = output.indexOf(separator, at);
    if (end === -1) return null;
    const entry = output.subarray(at, end);
    at = end + 1;
    return entry;
  };
  const take = (entry: Uint8Array) => {
    const file = parseFile(entry);
    if (file === null) isComplete = false;
    else files.push(file);
  };
  const zero = output.indexOf(0);
  const linesEnd = zero === -1 ? output.length : zero;
  for (let line = next(0x0a); line?.length !== 0; line = next(0x0a)) {
    if (line === null || at > linesEnd) return { touched: null, end: Math.min(linesEnd + 1, output.length) };
    take(line);
  }
  let entry = next(0);
  for (; entry !== null && entry.length > 0; entry = next(0)) take(entry);
  const touched = { isComplete: isComplete && entry !== null, files };
  return { touched, end: entry === null ? output.length : at };
}

/** No longer than the numbers of a file in front of its path. */
const headBytes = 40;

function parseFile(entry: Uint8Array): TouchedFile | null {
  const head = /^([flpsbc]) ([0-7]{1,4}) ([0-9]{1,16}) (?=\/)/.exec(
    Buffer.from(entry.subarray(0, headBytes)).toString('latin1'),
  );
  if (head === null) return null;
  const [{ length }, letter = '', mode = '', size = ''] = head;
  const type = types[letter as keyof typeof types];
  return { path: entry.subarray(length), type, mode, sizeBytes: type === 'file' ? Number(size) : 0 };
}
