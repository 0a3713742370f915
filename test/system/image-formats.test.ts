import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { guessRoot } from '#lib/image/layout.ts';
import { openDisk } from '#lib/image/open-disk.ts';
import { createOverlay } from '#lib/image/overlay.ts';
import { repack } from '#lib/image/repack.ts';
import { verifyImage } from '#lib/image/verify.ts';
import { failure } from '../failure.ts';
import { makeDisk, rootOffsetBytes, rootUuid } from '../unit/image/make-disk.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';
import { unprivilegedIds } from './unprivileged.ts';

const MiB = 2 ** 20;
const maximumVirtualBytes = 2 ** 30;

async function verdict(path: string): Promise<string> {
  try {
    return (await inspectImage(path, { maximumVirtualBytes })).format;
  } catch (thrown) {
    const error = toImageBuilderError(thrown);
    return `${error.code}: ${error.message}`;
  }
}

const others = {
  vmdk: 'VMDK',
  vdi: 'VDI',
  vpc: 'VHD',
  vhdx: 'VHDX',
  qed: 'QED',
  parallels: 'Parallels',
  qcow: 'version 1',
};
for (const [format, name] of Object.entries(others)) {
  test(`an image that qemu-img makes as ${format} is refused by name`, async () => {
    await using folder = await temporaryFolder();
    await exec('qemu-img', ['create', '-q', '-f', format, folder.file('image'), '8M']);
    assert.match(await verdict(folder.file('image')), new RegExp(`^image\\.unsupported: .*${name}`));
  });
}

test('VMDK and VHD images with flat data beside or before their marks are refused', async () => {
  await using folder = await temporaryFolder();
  await exec('qemu-img', [
    'create',
    '-q',
    '-f',
    'vmdk',
    '-o',
    'subformat=monolithicFlat',
    folder.file('flat.vmdk'),
    '8M',
  ]);
  assert.match(await verdict(folder.file('flat.vmdk')), /^image\.unsupported: .*descriptor of a VMDK/);
  await exec('qemu-img', ['create', '-q', '-f', 'vpc', '-o', 'subformat=fixed', folder.file('fixed.vhd'), '8M']);
  assert.match(await verdict(folder.file('fixed.vhd')), /^image\.unsupported: .*VHD/);
});

/**
 * Creates an encrypted image of 8 MiB with qemu-img. Some releases of QEMU (7.2 of Debian 12 among them) fail now and
 * then on a fast machine, "Unable to get accurate CPU usage", when measuring how long a key takes to derive lasted less
 * than a tick of the scheduler; nothing but trying again helps.
 */
async function createEncrypted(format: string, options: string, path: string): Promise<void> {
  const secret = ['--object', 'secret,id=s,data=secret'];
  for (let tries = 1; ; tries++) {
    try {
      await exec('qemu-img', ['create', '-q', ...secret, '-f', format, '-o', options, path, '8M']);
      return;
    } catch (error) {
      if (tries === 20 || !String(error).includes('Unable to get accurate CPU usage')) throw error;
    }
  }
}

test('LUKS images and encrypted qcow2 images are refused', async () => {
  await using folder = await temporaryFolder();
  await createEncrypted('luks', 'key-secret=s,iter-time=10', folder.file('luks'));
  assert.match(await verdict(folder.file('luks')), /^image\.unsupported: .*encrypted \(LUKS\)/);
  const encrypt = 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10';
  await createEncrypted('qcow2', encrypt, folder.file('qcow2'));
  assert.match(await verdict(folder.file('qcow2')), /^image\.unsupported: .*encrypted \(LUKS\)/);
});

test('qcow2 images that reach for another file are refused, however they name it', async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.file('secret'), Buffer.alloc(MiB, 'secret'));
  const backed = ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b'];
  await exec('qemu-img', [...backed, folder.file('secret'), folder.file('backed')]);
  assert.match(await verdict(folder.file('backed')), /^image\.unsafe: .*backing file/);
  const json = JSON.stringify({ driver: 'raw', file: { driver: 'file', filename: folder.file('secret') } });
  await exec('qemu-img', [...backed, `json:${json}`, folder.file('json')]);
  assert.match(await verdict(folder.file('json')), /^image\.unsafe: .*backing file/);
  const dataFile = `data_file=${folder.file('data')},data_file_raw=on`;
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', dataFile, folder.file('external'), '8M']);
  assert.match(await verdict(folder.file('external')), /^image\.unsafe: .*external file/);
});

test('qcow2 images with snapshots or bitmaps are refused, and pass once they are flattened', async () => {
  await using folder = await temporaryFolder();
  const create = async (name: string) => {
    await exec('qemu-img', ['create', '-q', '-f', 'qcow2', folder.file(name), '8M']);
    await exec('qemu-io', ['-f', 'qcow2', '-c', 'write 0 1M', folder.file(name)]);
  };
  await create('snapshot');
  await exec('qemu-img', ['snapshot', '-c', 'one', folder.file('snapshot')]);
  assert.match(await verdict(folder.file('snapshot')), /^image\.unsupported: .*1 internal snapshot;/);
  await create('bitmap');
  await exec('qemu-img', ['bitmap', '--add', '-f', 'qcow2', folder.file('bitmap'), 'one']);
  assert.match(await verdict(folder.file('bitmap')), /^image\.unsupported: .*bitmaps/);
  for (const name of ['snapshot', 'bitmap']) {
    await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'qcow2', folder.file(name), folder.file(`${name}-flat`)]);
    assert.is(await verdict(folder.file(`${name}-flat`)), 'qcow2');
  }
});

const layouts: Record<string, readonly string[]> = {
  plain: [],
  'compressed with zlib': ['-c'],
  'compressed with zstd': ['-c', '-o', 'compression_type=zstd'],
  'of version 2': ['-c', '-o', 'compat=0.10'],
  'with clusters of 512 bytes': ['-c', '-o', 'cluster_size=512'],
  'with clusters of 2 MiB': ['-c', '-o', 'cluster_size=2M'],
  'with subclusters': ['-o', 'extended_l2=on'],
  'with 1-bit reference counts': ['-o', 'refcount_bits=1'],
  preallocated: ['-o', 'preallocation=metadata'],
};

/** Marks that a stranger may have written where a qcow2 has none, by their place. */
const foreignMark: Readonly<Record<string, readonly [at: number, hex: string]>> = {
  'a disk with a partition table': [510, '55aa'],
  'a VDI image': [0x40, '7f10dabe'],
  'an ISO 9660 image': [0x8001, Buffer.from('CD001').toString('hex')],
  'a UDF image': [0x8001, Buffer.from('NSR03').toString('hex')],
};

test('a qcow2 with the mark of another format, which clouds refuse, is delivered without it', async () => {
  await using folder = await temporaryFolder();
  const [raw, path, overlayPath, outputPath] = ['raw', 'marked', 'overlay', 'output'].map((name) => folder.file(name));
  assert.ok(raw && path && overlayPath && outputPath);
  await exec('mkdir', [folder.file('work')]);
  await makeDisk(raw, 48 * 2 ** 20, folder.file('work'));
  await exec('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, path]);
  const sound = await readFile(path);
  const { signal } = new AbortController();
  for (const [name, [at, hex]] of Object.entries(foreignMark)) {
    const marked = Buffer.from(sound);
    Buffer.from(hex, 'hex').copy(marked, at);
    await writeFile(path, marked);
    const base = await inspectImage(path, { maximumVirtualBytes: 2 ** 30 });
    for (const each of [overlayPath, outputPath]) await rm(each, { force: true });
    const common = { basePath: path, base, overlayPath, outputPath, unprivilegedIds, signal };
    await createOverlay(common);
    const packed = await repack({ ...common, outputFormat: 'qcow2', compression: 'zlib', onProgress: () => undefined });
    assert.equal([packed.method, packed.reason], ['convert', `the base has the mark of ${name}`]);
    await verifyImage(outputPath, { ...common, format: 'qcow2', maximumVirtualBytes: 2 ** 30 });
    await exec('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, outputPath]);
    const output = await readFile(outputPath);
    assert.not(output.subarray(at, at + hex.length / 2).toString('hex') === hex, name);
    assert.match(
      (await failure(verifyImage(path, { ...common, format: 'qcow2', maximumVirtualBytes: 2 ** 30 }))).message,
      name,
    );
    // The check of the Glance that Debian has.
    const script =
      'import sys; from glance.common import format_inspector as f; i = f.detect_file_format(sys.argv[1]); print(i, i.safety_check())';
    assert.is((await exec('python3', ['-c', script, outputPath])).stdout, 'qcow2 True\n');
  }
});

test('every layout of qcow2 passes, reads as qemu-img reads it, and fails when cut off', async () => {
  await using folder = await temporaryFolder();
  await exec('mkdir', [folder.file('work')]);
  await makeDisk(folder.file('raw'), 48 * MiB + 512, folder.file('work'));
  await using raw = await openDisk(folder.file('raw'), { format: 'raw', virtualSizeBytes: 48 * MiB + 512 });
  for (const [what, options] of Object.entries(layouts)) {
    const path = folder.file('qcow2');
    await exec('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...options, folder.file('raw'), path]);
    const inspection = await inspectImage(path, { maximumVirtualBytes });
    assert.is(guessRoot(inspection.partitions)?.fileSystem?.uuid, rootUuid, what);
    await using disk = await openDisk(path, inspection);
    assert.is(disk.sizeBytes, raw.sizeBytes);
    for (let offset = 0; offset < disk.sizeBytes; offset += 3 * MiB + 1536) {
      const length = Math.min(3 * MiB + 1536, disk.sizeBytes - offset);
      const same = (await disk.read(offset, length)).equals(await raw.read(offset, length));
      assert.ok(same, `${what}: bytes from ${offset}`);
    }
    await truncate(path, inspection.fileSizeBytes - 70_000);
    assert.match(await verdict(path), /^image\.truncated: /, what);
  }
});

test('partitions and file systems are those that sfdisk and the mkfs tools were asked for', async () => {
  await using folder = await temporaryFolder();
  await exec('mkdir', [folder.file('work')]);
  await makeDisk(folder.file('raw'), 48 * MiB, folder.file('work'));
  const { partitionTable, partitions } = await inspectImage(folder.file('raw'), { maximumVirtualBytes });
  assert.is(partitionTable, 'gpt');
  assert.equal(
    partitions.map(({ number, offsetBytes, name, fileSystem }) => ({ number, offsetBytes, name, fileSystem })),
    [
      {
        number: 1,
        offsetBytes: rootOffsetBytes,
        name: null,
        fileSystem: { type: 'ext4', label: 'cloudimg-rootfs', uuid: rootUuid },
      },
      { number: 14, offsetBytes: MiB, name: null, fileSystem: null },
      {
        number: 15,
        offsetBytes: 5 * MiB,
        name: 'EFI system',
        fileSystem: { type: 'vfat', label: 'UEFI', uuid: 'ABCD-1234' },
      },
    ],
  );
});

test('a logical partition of an MBR is found where sfdisk puts it', async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.file('raw'), '');
  await truncate(folder.file('raw'), 48 * MiB);
  await exec('sfdisk', ['-q', folder.file('raw')], {
    input:
      'label: dos\nlabel-id: 0x12345678\n1: size=10M, type=83\n2: size=30M, type=5\n5: size=8M, type=83\n6: size=8M, type=82\n',
  });
  const { partitionTable, partitions } = await inspectImage(folder.file('raw'), { maximumVirtualBytes });
  const { stdout } = await exec('sfdisk', ['--json', folder.file('raw')]);
  interface Listed {
    readonly partitiontable: { readonly partitions: readonly { start: number; size: number; type: string }[] };
  }
  const listed = (JSON.parse(stdout) as Listed).partitiontable.partitions.filter(({ type }) => type !== '5');
  assert.is(partitionTable, 'mbr');
  assert.equal(
    partitions.map(({ offsetBytes, sizeBytes, type }) => ({ start: offsetBytes / 512, size: sizeBytes / 512, type })),
    listed.map(({ start, size, type }) => ({ start, size, type: `mbr:${type}` })),
  );
  assert.equal(
    partitions.map(({ partitionUuid }) => partitionUuid),
    ['12345678-01', '12345678-05', '12345678-06'],
  );
});

const uuid = '0f3c5a1b-1111-4222-8333-0123456789ab';
interface Maker {
  readonly make: readonly string[];
  readonly sizeBytes?: number;
  readonly expected: { readonly type: string; readonly label: string; readonly uuid: string };
}

const makers: Record<string, Maker> = {
  ext2: {
    make: ['mke2fs', '-q', '-F', '-t', 'ext2', '-L', 'two', '-U', uuid],
    expected: { type: 'ext2', label: 'two', uuid },
  },
  ext3: {
    make: ['mke2fs', '-q', '-F', '-t', 'ext3', '-L', 'three', '-U', uuid],
    expected: { type: 'ext3', label: 'three', uuid },
  },
  ext4: {
    make: ['mke2fs', '-q', '-F', '-t', 'ext4', '-L', 'sixteen letters!', '-U', uuid],
    expected: { type: 'ext4', label: 'sixteen letters!', uuid },
  },
  swap: { make: ['mkswap', '-q', '-L', 'page', '-U', uuid], expected: { type: 'swap', label: 'page', uuid } },
  FAT12: {
    sizeBytes: 1440 * 1024,
    make: ['mformat', '-f', '1440', '-N', '0badcafe', '-v', 'SMALL', '-i'],
    expected: { type: 'vfat', label: 'SMALL', uuid: '0BAD-CAFE' },
  },
  FAT32: {
    make: ['mformat', '-T', '131072', '-h', '16', '-s', '63', '-F', '-N', '0badcafe', '-v', 'LARGE ONE', '-i'],
    expected: { type: 'vfat', label: 'LARGE ONE', uuid: '0BAD-CAFE' },
  },
};

for (const [what, { make, expected, sizeBytes = 64 * MiB }] of Object.entries(makers)) {
  test(`a whole disk that is one file system (${what}) is recognised with label and UUID`, async () => {
    await using folder = await temporaryFolder();
    const path = folder.file('disk');
    await writeFile(path, '');
    await truncate(path, sizeBytes);
    const [tool = '', ...args] = make;
    await exec(tool, [...args, path, ...(tool === 'mformat' ? ['::'] : [])]);
    const { partitionTable, partitions } = await inspectImage(path, { maximumVirtualBytes });
    assert.is(partitionTable, 'none');
    assert.is(partitions[0]?.number, 0);
    assert.equal(partitions[0]?.fileSystem, expected);
  });
}

test.run();
