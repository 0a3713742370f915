import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lookAsRaw } from '#lib/image/as-raw.ts';
import { craftGpt, linuxData, memoryDisk } from './craft-table.ts';

const sound = () => {
  const disk = craftGpt([{ type: linuxData, first: 2048n, last: 3071n }]);
  // As the UEFI specification wants the protective entry (5.2.3).
  Buffer.from('00000200ee', 'hex').copy(disk, 446);
  return disk;
};
const changed = (change: (disk: Buffer) => void) => {
  const disk = sound();
  change(disk);
  return lookAsRaw(memoryDisk(disk));
};

test('a disk with a usual partition table is a raw image, and clouds have no objection', async () => {
  assert.equal(await changed(() => undefined), { takenFor: null, objection: null });
});

test('a disk with the mark of another format is said to be taken for that', async () => {
  const marks: Record<string, (disk: Buffer) => void> = {
    'an ISO 9660 image': (disk) => disk.write('CD001', 0x8001, 'latin1'),
    'a UDF image': (disk) => disk.write('NSR02', 0x8001, 'latin1'),
    'a qcow2 image': (disk) => Buffer.from('514649fb00000003', 'hex').copy(disk),
    'a VMDK image': (disk) => disk.write('KDMV', 0, 'latin1'),
    'a VHD image': (disk) => disk.write('conectix', disk.length - 512, 'latin1'),
    'a VDI image': (disk) => Buffer.from('7f10dabe', 'hex').copy(disk, 0x40),
    'encrypted (LUKS)': (disk) => disk.write('LUKS\xba\xbe', 0, 'latin1'),
  };
  for (const [name, change] of Object.entries(marks)) assert.is((await changed(change)).takenFor, name);
});

test('what OpenStack refuses in the MBR before a GPT is named', async () => {
  const objections: Record<string, (disk: Buffer) => void> = {
    'further partitions': (disk) => disk.writeUInt8(0x83, 446 + 16 + 4),
    'an unusual beginning': (disk) => disk.writeUInt8(1, 448),
    'an invalid boot flag': (disk) => disk.writeUInt8(0x12, 446 + 32),
  };
  for (const [words, change] of Object.entries(objections)) {
    assert.match((await changed(change)).objection ?? '', words);
  }
});

test.run();
