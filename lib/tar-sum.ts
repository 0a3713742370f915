/** The field of the sum in the header of a member of a tar archive (POSIX.1-1988, ustar): its first byte, and the one behind it. */
export const sumField = { from: 148, to: 156 } as const;

const blank = 0x20;

/** The sum of all bytes of a header, with blanks in the field of the sum itself. */
export function sumOf(header: Buffer): number {
  const { from, to } = sumField;
  let sum = (to - from) * blank;
  for (let index = 0; index < header.length; index += 1) {
    if (index < from || index >= to) sum += header[index] ?? 0;
  }
  return sum;
}
