/** A cpio archive in the "newc" form, with empty files of these names. */
export function cpioArchive(names: readonly string[], contentBytes = 0): Buffer {
  const parts = [...names, 'TRAILER!!!'].flatMap((name) => {
    const size = name === 'TRAILER!!!' ? 0 : contentBytes;
    const fields = Array.from({ length: 13 }, (_, index) => (index === 6 ? size : index === 11 ? name.length + 1 : 0));
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
    return [padded(Buffer.from(header)), padded(Buffer.alloc(size, 'x'))];
  });
  return Buffer.concat(parts);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
