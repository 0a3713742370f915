/**
 * Writes the cpio archive that Linux unpacks as its first root file system: the format `newc`, as in the kernel's
 * Documentation/driver-api/early-userspace/buffer-format.rst.
 */

export type CpioEntry = { readonly path: string; readonly mode: number } & (
  | { readonly kind: 'folder' }
  | { readonly kind: 'file'; readonly content: Uint8Array }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'device'; readonly major: number; readonly minor: number }
);

const typeBits = { folder: 0o040000, file: 0o100000, link: 0o120000, device: 0o020000 } as const;

/**
 * The archive of `entries`, all root's and without times, so that equal entries give equal bytes. A folder has to come
 * before its content. `device` is a character device.
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  for (const [index, entry] of entries.entries()) parts.push(...record(entry, index + 1));
  parts.push(...record({ path: 'TRAILER!!!', mode: 0, kind: 'file', content: new Uint8Array() }, 0));
  return Buffer.concat(parts);
}

function record(entry: CpioEntry, inode: number): Buffer[] {
  const content =
    entry.kind === 'file'
      ? Buffer.from(entry.content.buffer, entry.content.byteOffset, entry.content.byteLength)
      : Buffer.from(entry.kind === 'link' ? entry.target : '');
  const name = Buffer.from(`${entry.path}\0`);
  const fields = [
    inode,
    inode === 0 ? 0 : typeBits[entry.kind] | entry.mode,
    0, // user
    0, // group
    1, // links
    0, // time
    content.length,
    0, // device that the file lies on: major …
    0, // … and minor
    entry.kind === 'device' ? entry.major : 0,
    entry.kind === 'device' ? entry.minor : 0,
    name.length,
    0, // checksum, which this format does not use
  ];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return [padded(Buffer.concat([header, name])), padded(content)];
}

/** Every part begins at a multiple of four bytes. */
function padded(bytes: Buffer): Buffer {
  const missing = -bytes.length & 3;
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}
