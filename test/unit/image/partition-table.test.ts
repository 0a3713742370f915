import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toImageBuilderError } from '#lib/errors.ts';
import { readPartitions } from '#lib/image/partition-table.ts';
import { craftGpt, linuxData, memoryDisk, writeMbr } from './craft-table.ts';

const read = (disk: Buffer, beyondEnd: 'image.corrupt' | 'image.truncated' = 'image.corrupt') =>
  readPartitions(memoryDisk(disk), { beyondEnd });

async function failure(disk: Buffer, beyondEnd?: 'image.truncated'): Promise<string> {
  try {
    await read(disk, beyondEnd);
    return 'no failure';
  } catch (thrown) {
    const error = toImageBuilderError(thrown);
    return `${error.code}: ${error.message}`;
  }
}

const two = [
  { type: linuxData, first: 2048n, last: 3071n, name: 'röot' },
  { type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b', first: 1024n, last: 2047n },
];

for (const sectorBytes of [512, 4096]) {
  test(`reads a GPT with sectors of ${sectorBytes} bytes`, async () => {
    const { table, partitions } = await read(craftGpt(two, { sectorBytes }));
    assert.is(table, 'gpt');
    assert.equal(partitions, [
      {
        number: 1,
        offsetBytes: 2048 * sectorBytes,
        sizeBytes: 1024 * sectorBytes,
        type: linuxData,
        name: 'röot',
        partitionUuid: '00000000-0000-4000-8000-000000000001',
        fileSystem: null,
      },
      {
        number: 2,
        offsetBytes: 1024 * sectorBytes,
        sizeBytes: 1024 * sectorBytes,
        type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
        name: null,
        partitionUuid: '00000000-0000-4000-8000-000000000002',
        fileSystem: null,
      },
    ]);
  });
}

test('a damaged primary GPT is replaced by its backup', async () => {
  for (const place of [512 + 40, 1024 + 5]) {
    const disk = craftGpt(two);
    disk.writeUInt8(disk.readUInt8(place) ^ 0xff, place);
    assert.is((await read(disk)).partitions.length, 2);
  }
});

test('a GPT that is damaged in both places is refused, saying how', async () => {
  const disk = craftGpt(two);
  for (const place of [512 + 40, disk.length - 512 + 40]) disk.writeUInt8(disk.readUInt8(place) ^ 0xff, place);
  assert.match(await failure(disk), /^image\.corrupt: .*checksum of its header.*backup: .*checksum/);
});

test('a protective MBR without a GPT is refused', async () => {
  const disk = craftGpt(two).fill(0, 512);
  assert.match(await failure(disk), /^image\.corrupt: .*has none/);
});

test('a GPT left over beside an MBR does not count', async () => {
  const disk = craftGpt(two);
  writeMbr(disk, 0, [{ type: 0x83, first: 2048, sectors: 100 }]);
  const { table, partitions } = await read(disk);
  assert.is(table, 'mbr');
  assert.equal(
    partitions.map(({ type, offsetBytes }) => [type, offsetBytes]),
    [['mbr:83', 2048 * 512]],
  );
});

test('hostile GPTs are refused, each for its reason', async () => {
  const at = (first: bigint, last: bigint) => ({ type: linuxData, first, last });
  const full = (1n << 64n) - 1n;
  assert.match(await failure(craftGpt([at(2048n, 3000n), at(3000n, 3001n)])), /^image\.corrupt: .*1 and 2 overlap/);
  assert.match(
    await failure(craftGpt([at(2048n, 9000n)])),
    /^image\.corrupt: partition 1 ends at byte 4608512, beyond/,
  );
  assert.match(await failure(craftGpt([at(2048n, 9000n)]), 'image.truncated'), /^image\.truncated: /);
  assert.match(await failure(craftGpt([at(2048n, full)])), /^image\.corrupt: .*no possible end/);
  assert.match(await failure(craftGpt([at(full, full)])), /^image\.corrupt: .*no possible end/);
  assert.match(await failure(craftGpt([at(3000n, 2048n)])), /^image\.corrupt: .*before it begins/);
  assert.match(await failure(craftGpt(two, { claimedEntries: 0xffffffff })), /^image\.corrupt: .*4294967295 entries/);
});

test('reads primary and logical partitions of an MBR, with their PARTUUIDs', async () => {
  const disk = Buffer.alloc(8192 * 512);
  disk.writeUInt32LE(0xdeadbe0f, 440);
  writeMbr(disk, 0, [
    { type: 0x83, first: 2048, sectors: 1024 },
    { type: 0x05, first: 4096, sectors: 4096 },
  ]);
  writeMbr(disk, 4096, [
    { type: 0x83, first: 8, sectors: 100 },
    { type: 0x05, first: 1000, sectors: 200 },
  ]);
  writeMbr(disk, 5096, [{ type: 0x82, first: 8, sectors: 100 }]);
  const { table, partitions } = await read(disk);
  assert.is(table, 'mbr');
  assert.equal(
    partitions.map(({ number, offsetBytes, type, partitionUuid }) => [number, offsetBytes / 512, type, partitionUuid]),
    [
      [1, 2048, 'mbr:83', 'deadbe0f-01'],
      [5, 4104, 'mbr:83', 'deadbe0f-05'],
      [6, 5104, 'mbr:82', 'deadbe0f-06'],
    ],
  );
});

test('logical partitions that loop, leave their place or have no record are refused', async () => {
  const extended = (records: (disk: Buffer) => void) => {
    const disk = Buffer.alloc(8192 * 512);
    writeMbr(disk, 0, [{ type: 0x05, first: 4096, sectors: 2048 }]);
    records(disk);
    return disk;
  };
  const data = { type: 0x83, first: 8, sectors: 8 };
  const loop = extended((disk) => writeMbr(disk, 4096, [data, { type: 0x05, first: 0, sectors: 8 }]));
  assert.match(await failure(loop), /^image\.corrupt: .*loop/);
  const outside = extended((disk) => writeMbr(disk, 4096, [data, { type: 0x05, first: 4000, sectors: 8 }]));
  assert.match(await failure(outside), /^image\.corrupt: .*leaves the extended partition/);
  const long = extended((disk) => writeMbr(disk, 4096, [{ type: 0x83, first: 8, sectors: 0xffffffff }]));
  assert.match(await failure(long), /^image\.corrupt: .*leaves the extended partition/);
  assert.match(await failure(extended(() => {})), /^image\.corrupt: .*no boot record at sector 4096/);
  const many = extended((disk) => {
    for (let index = 0; index < 200; index++) {
      writeMbr(disk, 4096 + index * 4, [
        { type: 0x83, first: 1, sectors: 1 },
        { type: 0x05, first: (index + 1) * 4, sectors: 4 },
      ]);
    }
  });
  assert.match(await failure(many), /^image\.corrupt: .*more than 128/);
});

test('a disk without anything known has no partitions', async () => {
  for (const disk of [Buffer.alloc(0), Buffer.alloc(100), Buffer.alloc(1024 * 1024), Buffer.alloc(4096, 0xff)]) {
    assert.equal(await read(disk), { table: 'none', partitions: [] });
  }
});

test.run();
