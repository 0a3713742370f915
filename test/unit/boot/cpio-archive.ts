/** A cpio archive in the "newc" form, with empty files of these names. */
export function cpioArchive(names: readonly string[], contentBytes = 0): Buffer {
  return archiveOf(names.map((name) => [name, Buffer.alloc(contentBytes, 'x')]));
}

/** One with these contents of files. */
export function cpioFiles(files: Readonly<Record<string, string>>): Buffer {
  return archiveOf(Object.entries(files).map(([name, content]) => [name, Buffer.from(content)]));
}

function archiveOf(files: readonly (readonly [name: string, content: Buffer])[]): Buffer {
  const entries = [...files, ['TRAILER!!!', Buffer.alloc(0)] as const];
  return Buffer.concat(
    entries.flatMap(([name, content]) => {
      const fields = Array.from({ length: 13 }, (_, index) =>
        index === 6 ? content.length : index === 11 ? name.length + 1 : 0,
      );
      const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
      return [padded(Buffer.from(header)), padded(content)];
    }),
  );
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
