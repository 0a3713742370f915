import { open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import type { ImageInspection } from '#lib/image/inspection.ts';
import { openDisk } from '#lib/image/open-disk.ts';
import { createOverlay } from '#lib/image/overlay.ts';
import { limitsFor, openQemuTools } from '#lib/image/qemu-img.ts';
import { repack } from '#lib/image/repack.ts';
import { verifyImage } from '#lib/image/verify.ts';
import { makeDisk } from '../unit/image/make-disk.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** Real images with bytes changed: there is always a verdict, and what passes is for QEMU what it is for us. */

const MiB = 2 ** 20;
const maximumVirtualBytes = 2 ** 30;
const folder = await temporaryFolder();
const refusals = ['image.unsafe', 'image.unsupported', 'image.corrupt', 'image.too_large', 'image.truncated'];
/** Far beyond what the largest of these takes: more means that a number in the file is believed. */
const maximumMemoryBytes = 768 * MiB;

test.before(async () => {
  await exec('mkdir', [folder.file('work')]);
  await makeDisk(folder.file('raw'), 48 * MiB, folder.file('work'));
  const convert = (to: string, format: string, ...options: readonly string[]) =>
    exec('qemu-img', ['convert', '-f', 'raw', '-O', format, ...options, folder.file('raw'), folder.file(to)]);
  await convert('version 3', 'qcow2', '-c');
  await convert('version 2', 'qcow2', '-o', 'compat=0.10');
  await convert('zstd', 'qcow2', '-c', '-o', 'compression_type=zstd,cluster_size=4k');
  await convert('subclusters', 'qcow2', '-o', 'extended_l2=on');
  await convert('vmdk', 'vmdk', '-o', 'subformat=streamOptimized');
  await convert('vhd', 'vpc', '-o', 'subformat=fixed,force_size=on');
  await convert('vhdx', 'vhdx');
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', folder.file('raw'), '-F', 'raw', folder.file('backed')]);
});
test.after(async () => {
  await folder[Symbol.asyncDispose]();
});

/** The verdict on a file, and what it says when it lets it pass. */
async function verdict(path: string): Promise<ImageInspection | string> {
  try {
    const inspection = await inspectImage(path, { maximumVirtualBytes, signal: AbortSignal.timeout(60_000) });
    // Reads the content as the build does.
    await using disk = await openDisk(path, inspection);
    await disk.read(0, Math.min(disk.sizeBytes, MiB)).catch(expectRefusal);
    return inspection;
  } catch (thrown) {
    return expectRefusal(thrown);
  }
}

function expectRefusal(thrown: unknown): string {
  if (!(thrown instanceof ImageBuilderError)) throw thrown;
  assert.ok(refusals.includes(thrown.code), `${thrown.code}: ${thrown.message}`);
  return thrown.code;
}

interface QemuInfo {
  readonly format: string;
  readonly 'virtual-size': number;
  readonly 'backing-filename'?: string;
  readonly 'format-specific'?: { readonly data?: { readonly 'data-file'?: string } };
}

/** Fails unless QEMU, which is left to guess the format, sees in the file the disk that we let pass, and no other file. */
async function assertQemuAgrees(path: string, { format, virtualSizeBytes }: ImageInspection): Promise<void> {
  await using tools = await openQemuTools({ image: { path, writable: false } }, unprivilegedIds);
  const args = ['info', '--output=json', tools.names.image];
  const { stdout } = await tools.run('qemu-img', args, { limits: limitsFor(2 * MiB) });
  const info = JSON.parse(stdout) as QemuInfo;
  assert.equal([info.format, info['virtual-size']], [format, virtualSizeBytes]);
  assert.is(info['backing-filename'], undefined);
  assert.is(info['format-specific']?.data?.['data-file'], undefined);
}

/** Bytes at places that mean something: head, tail, and where the tables of qcow2 and of partitions lie. */
interface Change {
  readonly at: number;
  readonly bytes: Uint8Array;
}

async function placesOf(path: string): Promise<readonly number[]> {
  const { size } = await stat(path);
  const head = (await readFile(path)).subarray(0, 4096);
  const isQcow2 = head.toString('latin1', 0, 3) === 'QFI';
  const tables = isQcow2
    ? [40, 48].map((offset) => Number(head.readBigUInt64BE(offset)))
    : [446, 512, 1024, 5 * MiB, 10 * MiB + 1024];
  if (isQcow2) {
    const file = await readFile(path);
    for (const offset of [...tables]) tables.push(Number(file.readBigUInt64BE(offset) & 0xfffffffffffe00n));
  }
  return [0, ...tables, Math.max(0, size - 512)];
}

/** Numbers that tables are made of: places in the file and beyond it, each other's places, flags, the largest there are. */
function changes(places: readonly number[]): fc.Arbitrary<readonly Change[]> {
  const eight = (value: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
    return bytes;
  };
  const offset = fc.constantFrom(...places, 0, 65_536, 48 * MiB, 2 ** 40).map((place) => eight(BigInt(place)));
  const flagged = fc.constantFrom(...places).map((place) => eight(BigInt(place) | (1n << 63n)));
  const compressed = fc.constantFrom(...places).map((place) => eight(BigInt(place) | (0x7fn << 56n)));
  const huge = fc.constantFrom(0xffffffffffffffffn, 0x7fffffffffffffffn, 1n << 31n, 1n << 63n).map(eight);
  const bytes = fc.oneof(offset, flagged, compressed, huge, fc.uint8Array({ minLength: 1, maxLength: 16 }));
  const at = fc.tuple(
    fc.constantFrom(...places),
    fc.oneof(
      fc.nat({ max: 127 }),
      fc.nat({ max: 15 }).map((n) => n * 8),
    ),
  );
  const change = fc.tuple(at, bytes).map(([[start, beyond], value]) => ({ at: start + beyond, bytes: value }));
  return fc.array(change, { minLength: 1, maxLength: 4 });
}

const originals = ['version 3', 'version 2', 'zstd', 'subclusters', 'raw', 'vmdk', 'vhd', 'vhdx', 'backed'];

for (const name of originals) {
  test(`whatever is changed in it, there is a verdict with which QEMU agrees: ${name}`, async () => {
    const original = folder.file(name);
    const { size } = await stat(original);
    const seen = { passed: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(
        changes(await placesOf(original)),
        fc.option(fc.nat({ max: size }), { freq: 6 }),
        async (all, length) => {
          const path = folder.file('changed');
          await exec('cp', ['--sparse=always', original, path]);
          {
            await using file = await open(path, 'r+');
            for (const { at, bytes } of all)
              await file.write(bytes, 0, bytes.length, Math.min(at, size - bytes.length));
          }
          if (length !== null) await truncate(path, length);
          const said = await verdict(path);
          seen[typeof said === 'string' ? 'refused' : 'passed'] += 1;
          if (typeof said !== 'string') await assertQemuAgrees(path, said);
          assert.ok(process.memoryUsage().rss < maximumMemoryBytes, `${process.memoryUsage().rss} bytes of memory`);
        },
      ),
      { numRuns: 40 },
    );
    assert.ok(seen.refused > 0, 'the changes reach the checks');
  });
}

/** The fields of a header, by their place and length (QEMU's docs/interop/qcow2.txt). */
const headerFields: Readonly<Record<string, readonly [at: number, bytes: 1 | 4 | 8]>> = {
  ...{ version: [4, 4], backing_file_offset: [8, 8], backing_file_size: [16, 4], cluster_bits: [20, 4], size: [24, 8] },
  ...{ crypt_method: [32, 4], l1_size: [36, 4], l1_table_offset: [40, 8], refcount_table_offset: [48, 8] },
  ...{ refcount_table_clusters: [56, 4], nb_snapshots: [60, 4], snapshots_offset: [64, 8] },
  ...{ incompatible_features: [72, 8], compatible_features: [80, 8], autoclear_features: [88, 8] },
  ...{ refcount_order: [96, 4], header_length: [100, 4], compression_type: [104, 1], padding: [105, 1] },
};

test('whatever a field of the header says, the image is refused as one, or delivered as QEMU reads it', async () => {
  const original = await readFile(folder.file('version 3'));
  const [path, overlayPath, outputPath] = ['field', 'overlay', 'output'].map((name) => folder.file(name)) as [
    ...[string, string, string],
  ];
  const { signal } = new AbortController();
  const seen = { delivered: 0, refused: 0 };
  for (const [name, [at, bytes]] of Object.entries(headerFields)) {
    const largest = 2n ** BigInt(8 * bytes) - 1n;
    const now = original.subarray(at, at + bytes).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
    const values = [0n, 1n, 2n, 3n, 8n, 512n, 65_537n, 65_536n, now + 1n, now * 2n, largest, largest / 2n + 1n];
    for (const value of new Set(values.map((each) => each & largest))) {
      if (value === now) continue;
      const changed = Buffer.from(original);
      Buffer.from(value.toString(16).padStart(2 * bytes, '0'), 'hex').copy(changed, at);
      await writeFile(path, changed);
      const base = await verdict(path);
      seen[typeof base === 'string' ? 'refused' : 'delivered'] += 1;
      if (typeof base === 'string') continue;
      const what = `${name} 0x${value.toString(16)}`;
      try {
        for (const each of [overlayPath, outputPath]) await rm(each, { force: true });
        const common = { basePath: path, base, overlayPath, outputPath, unprivilegedIds, signal };
        await createOverlay(common);
        await repack({ ...common, outputFormat: 'qcow2', compression: 'zlib', onProgress: () => undefined });
        await verifyImage(outputPath, { ...common, format: 'qcow2', maximumVirtualBytes });
        await exec('qemu-img', ['compare', '-f', 'qcow2', '-F', 'qcow2', path, outputPath]);
      } catch (error) {
        assert.unreachable(`${what}: ${error}`);
      }
    }
  }
  assert.ok(seen.delivered > 20 && seen.refused > 50, JSON.stringify(seen));
});

/** Each two things at once: the one that we see must be the one that QEMU sees. */
test('a file that is two formats at once is taken for what QEMU takes it for, or refused', async () => {
  const iso = Buffer.alloc(0x9000);
  iso.write('\x01CD001\x01', 0x8000, 'latin1');
  const vhdTail = (await readFile(folder.file('vhd'))).subarray(-512);
  const qcow2 = await readFile(folder.file('version 3'));
  const raw = await readFile(folder.file('raw'));
  const withIso = Buffer.from(qcow2);
  iso.copy(withIso, 0x8000, 0x8000, 0x8010);
  const rawIso = Buffer.from(raw);
  iso.copy(rawIso, 0x8000, 0x8000, 0x8010);
  const rawVmdk = Buffer.from(raw);
  rawVmdk.write('KDMV', 0, 'latin1');
  const rawQcow2 = Buffer.from(raw);
  qcow2.copy(rawQcow2, 0, 0, 112);
  const descriptor = Buffer.concat([
    Buffer.from('# Disk DescriptorFile\nRW 1 FLAT "/etc/passwd" 0\n'),
    raw.subarray(64),
  ]);
  const files: Readonly<Record<string, readonly [content: Buffer, expected: string]>> = {
    'an ISO inside a qcow2’s header': [withIso, 'qcow2'],
    'an ISO with a partition table': [rawIso, 'image.unsupported'],
    'a qcow2 with the footer of a VHD': [Buffer.concat([qcow2, vhdTail]), 'qcow2'],
    'a raw disk with the footer of a VHD': [Buffer.concat([raw, vhdTail]), 'image.unsupported'],
    'a raw disk that begins like a VMDK': [rawVmdk, 'image.unsupported'],
    'a raw disk behind the header of a qcow2': [rawQcow2, 'image.corrupt'],
    'a descriptor that reaches for a file': [descriptor, 'image.unsupported'],
  };
  for (const [what, [content, expected]] of Object.entries(files)) {
    const path = folder.file('two');
    await writeFile(path, content);
    const said = await verdict(path);
    assert.is(typeof said === 'string' ? said : said.format, expected, what);
    if (typeof said !== 'string') await assertQemuAgrees(path, said);
  }
});

test('an ISO 9660 image packed as a qcow2 is seen for a disk without partitions', async () => {
  const iso = Buffer.alloc(2 * MiB);
  iso.write('\x01CD001\x01', 0x8000, 'latin1');
  await writeFile(folder.file('iso'), iso);
  await exec('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', folder.file('iso'), folder.file('iso.qcow2')]);
  const said = await verdict(folder.file('iso.qcow2'));
  assert.ok(typeof said !== 'string');
  assert.equal([said.partitionTable, said.partitions], ['none', []]);
});

test('a file as sparse as a disk can be is judged by what is in it, and not read from end to end', async () => {
  const path = folder.file('sparse');
  await writeFile(path, '');
  await truncate(path, maximumVirtualBytes);
  assert.is(await verdict(path), 'image.unsupported');
  await truncate(path, 2 ** 43);
  assert.is(await verdict(path), 'image.too_large');
});

test.run();
