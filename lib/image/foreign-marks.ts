/**
 * Marks of other formats in the head of a qcow2 file. A qcow2 leaves these places to nobody, and QEMU does not look at
 * them; clouds refuse a file that several formats match (OpenStack's oslo.utils, format_inspector.py).
 */

const masterBootRecordEnd = 0xaa55;
const hardDisk = 0xf8;

/** The other formats that these first bytes (33 KiB, or the whole file) match, in words. */
export function foreignMarks(head: Buffer): string[] {
  const volume = head.toString('latin1', 0x8001, 0x8006);
  const found = [
    ...(head.length >= 512 && isMasterBootRecord(head) ? ['a disk with a partition table'] : []),
    ...(head.toString('latin1', 0x40, 0x44) === '\x7f\x10\xda\xbe' ? ['a VDI image'] : []),
    ...(volume === 'CD001' ? ['an ISO 9660 image'] : []),
    ...(volume === 'NSR02' || volume === 'NSR03' ? ['a UDF image'] : []),
  ];
  return found.map((name) => `the mark of ${name}`);
}

/** The boot sector of a FAT file system ends alike, and is told apart by its number of tables and its medium. */
function isMasterBootRecord(head: Buffer): boolean {
  const isFat = head.readUInt8(0x10) === 2 && head.readUInt8(0x15) === hardDisk;
  return head.readUInt16LE(510) === masterBootRecordEnd && !isFat;
}
