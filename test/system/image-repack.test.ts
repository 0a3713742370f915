import { chmod, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { readDelta } from '#lib/image/delta.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import type { ImageInspection } from '#lib/image/inspection.ts';
import { createOverlay } from '#lib/image/overlay.ts';
import { openQemuTools, type QemuLimits } from '#lib/image/qemu-img.ts';
import { type RepackResult, repack } from '#lib/image/repack.ts';
import { verifyImage } from '#lib/image/verify.ts';
import { failure } from '../failure.ts';
import { changeDisk, makeDisk, rootOffsetBytes } from '../unit/image/make-disk.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';
import { unprivilegedIds } from './unprivileged.ts';

const MiB = 2 ** 20;
const maximumVirtualBytes = 2 ** 30;
/** Neither whole clusters of 64 KiB nor of 4 KiB. */
const diskBytes = 64 * MiB + 3 * 512;

type Folder = Awaited<ReturnType<typeof temporaryFolder>>;
const context: { folder: Folder | null; raw: string } = { folder: null, raw: '' };
const test = suite('repack', context);

test.before(async (shared) => {
  shared.folder = await temporaryFolder();
  shared.raw = shared.folder.file('disk.raw');
  const work = shared.folder.file('work');
  await mkdir(work);
  await makeDisk(shared.raw, diskBytes, work);
});

test.after(async (shared) => {
  await shared.folder?.[Symbol.asyncDispose]();
});

/** Changes of every kind: data over data, over nothing, at both ends; zeros and discards; parts of clusters. */
const changes = [
  `write -P 0x22 ${rootOffsetBytes + 5 * MiB} 300K`,
  `write -P 0x33 ${rootOffsetBytes + 5 * MiB + 400 * 1024 + 512} 512`,
  `write -z ${rootOffsetBytes + 6 * MiB} 1M`,
  `discard ${rootOffsetBytes + 8 * MiB} 2M`,
  `write -P 0x44 ${rootOffsetBytes + 9 * MiB} 64K`,
  `write -P 0x00 ${rootOffsetBytes + 10 * MiB} 128K`,
  `write -P 0x55 ${diskBytes - 34 * 512 - 700 * 512} 512`,
];

interface Attempt {
  readonly result: RepackResult;
  readonly base: ImageInspection;
  readonly basePath: string;
  readonly output: string;
  readonly overlay: string;
  readonly fractions: readonly number[];
}

/** The raw disk as a base, converted where options of qemu-img say how, with an overlay. */
async function openBase(folder: Folder, raw: string, convert?: readonly string[]) {
  const basePath = folder.file('base');
  if (convert === undefined) await exec('cp', ['--sparse=always', raw, basePath]);
  else await exec('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...convert, raw, basePath]);
  const base = await inspectImage(basePath, { maximumVirtualBytes });
  const overlayPath = folder.file('overlay, with: odd=name');
  await createOverlay({ basePath, base, overlayPath });
  return { basePath, base, overlayPath };
}

async function attempt(
  folder: Folder,
  raw: string,
  options: {
    convert?: readonly string[];
    commands?: readonly string[];
    compression?: 'zlib' | 'zstd';
    outputFormat?: 'qcow2' | 'raw';
    change?: (paths: { base: string; overlay: string }) => Promise<void>;
  },
): Promise<Attempt> {
  const paths = await openBase(folder, raw, options.convert);
  const { basePath, base, overlayPath: overlay } = paths;
  await changeDisk(overlay, options.commands ?? changes);
  await options.change?.({ base: basePath, overlay });
  const output = folder.file('output, with: odd=name');
  const fractions: number[] = [];
  const result = await repack({
    ...paths,
    outputPath: output,
    outputFormat: options.outputFormat ?? 'qcow2',
    compression: options.compression ?? 'zlib',
    unprivilegedIds,
    signal: new AbortController().signal,
    onProgress: (fraction) => fractions.push(fraction),
  });
  return { result, base, basePath, output, overlay, fractions };
}

/** The output is sound, stands alone, reads as base and overlay together, and has in common with the base what it says. */
async function expectFaithful({ output, overlay, base, basePath, result }: Attempt): Promise<ImageInspection> {
  const { signal } = new AbortController();
  const format = 'qcow2';
  const image = await verifyImage(output, { format, base, maximumVirtualBytes, unprivilegedIds, signal });
  await exec('qemu-img', ['check', '-f', 'qcow2', output]);
  await exec('qemu-img', ['compare', '-f', 'qcow2', '-F', 'qcow2', overlay, output]);
  const { stdout } = await exec('qemu-img', ['info', '-f', 'qcow2', '--output=json', output]);
  assert.not('backing-filename' in JSON.parse(stdout));
  assert.is(result.sizeBytes, (await stat(output)).size);
  const [before, after] = [await readFile(basePath), await readFile(output)];
  for (const { offsetBytes, baseBytes, sizeBytes } of result.shared) {
    const run = after.subarray(offsetBytes, offsetBytes + sizeBytes);
    assert.ok(run.equals(before.subarray(baseBytes, baseBytes + sizeBytes)));
  }
  return image;
}

const appended: Record<string, readonly string[]> = {
  'as qemu-img makes it': ['-c'],
  'of version 2, as Ubuntu publishes them': ['-c', '-o', 'compat=0.10'],
  'compressed with zstd': ['-c', '-o', 'compression_type=zstd'],
  'with clusters of 4 KiB': ['-c', '-o', 'cluster_size=4K'],
  'with clusters of 512 bytes': ['-c', '-o', 'cluster_size=512'],
  'with clusters of 2 MiB': ['-c', '-o', 'cluster_size=2M'],
};

for (const [what, convert] of Object.entries(appended)) {
  test(`appends the changes to a base ${what}`, async ({ raw }) => {
    await using folder = await temporaryFolder();
    const done = await attempt(folder, raw, { convert, compression: what.includes('zstd') ? 'zstd' : 'zlib' });
    assert.is(done.result.reason, undefined);
    assert.is(done.result.method, 'delta-append');
    const image = await expectFaithful(done);
    assert.is(image.qcow2?.version, done.base.qcow2?.version);
    assert.is(image.qcow2?.compression, done.base.qcow2?.compression);
    assert.is(done.fractions.at(-1), 1);
    assert.not((await readdir(folder.path)).some((name) => name.endsWith('.partial')));
  });
}

test('without a change the output is the base', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const done = await attempt(folder, raw, { convert: ['-c'], commands: ['read 0 512'] });
  assert.is(done.result.method, 'delta-append');
  await expectFaithful(done);
  await exec('cmp', [folder.file('base'), done.output]);
});

test('the output of a read-only base can be written to', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const change = ({ base }: { base: string }) => chmod(base, 0o444);
  const done = await attempt(folder, raw, { convert: ['-c'], change });
  assert.is(done.result.method, 'delta-append');
  // Root, which tests run as, may write to anything; a worker may be another user.
  assert.is((await stat(done.output)).mode & 0o600, 0o600);
});

test('changes to zeros alone arrive', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const commands = [`write -z ${rootOffsetBytes + 5 * MiB} 2M`, `discard ${rootOffsetBytes + 9 * MiB} 1M`];
  const done = await attempt(folder, raw, { convert: ['-c'], commands });
  assert.is(done.result.method, 'delta-append');
  await expectFaithful(done);
});

for (const [what, convert] of Object.entries({ 'a raw base': undefined, 'a compressed qcow2': ['-c'] })) {
  test(`a raw image of ${what} reads as base and overlay together, and has holes where the disk is zero`, async ({
    raw,
  }) => {
    await using folder = await temporaryFolder();
    const done = await attempt(folder, raw, { ...(convert === undefined ? {} : { convert }), outputFormat: 'raw' });
    const { base, output, overlay, result } = done;
    assert.is(result.method, 'convert');
    const { signal } = new AbortController();
    const image = await verifyImage(output, { format: 'raw', base, maximumVirtualBytes, unprivilegedIds, signal });
    assert.equal([image.format, image.virtualSizeBytes], ['raw', base.virtualSizeBytes]);
    await exec('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', overlay, output]);
    const { size, blocks } = await stat(output);
    assert.is(size, base.virtualSizeBytes);
    assert.ok(blocks * 512 < size / 2, `${blocks} blocks of ${size} bytes`);
    const checked = verifyImage(output, { format: 'qcow2', base, maximumVirtualBytes, unprivilegedIds, signal });
    assert.match((await failure(checked)).message, /no qcow2 image/);
  });
}

interface Converted {
  readonly convert?: readonly string[];
  readonly compression?: 'zlib' | 'zstd';
  readonly commands?: readonly string[];
  readonly reason: RegExp;
}

const converted: Record<string, Converted> = {
  'a raw base': { reason: /raw image/ },
  'a base that is not compressed': { convert: [], reason: /not compressed/ },
  'a base with lazy reference counts': { convert: ['-c', '-o', 'lazy_refcounts=on'], reason: /lazy reference counts/ },
  'a base with subclusters': { convert: ['-c', '-o', 'extended_l2=on'], reason: /extended L2/ },
  'a base with 64-bit reference counts': { convert: ['-c', '-o', 'refcount_bits=64'], reason: /64 bits/ },
  'a zstd base where zlib is wanted': { convert: ['-c', '-o', 'compression_type=zstd'], reason: /zlib is wanted/ },
  'changes that outgrow a zlib base where zstd is wanted': {
    convert: ['-c'],
    compression: 'zstd',
    commands: [`write -P 0x66 ${rootOffsetBytes + 6 * MiB} 12M`],
    reason: /too large/,
  },
};

for (const [what, { reason, ...options }] of Object.entries(converted)) {
  test(`converts everything for ${what}`, async ({ raw }) => {
    await using folder = await temporaryFolder();
    const done = await attempt(folder, raw, options);
    assert.is(done.result.method, 'convert');
    assert.match(done.result.reason ?? '', reason);
    const image = await expectFaithful(done);
    assert.is(image.qcow2?.compression, options.compression ?? 'zlib');
    assert.equal(image.qcow2?.unusual, []);
    assert.ok(done.fractions.length > 1);
    if (image.qcow2?.compression === 'zlib') {
      const { stdout } = await exec('od', ['-An', '-tx1', '-j72', '-N8', done.output]);
      assert.is(stdout.trim(), '00 00 00 00 00 00 00 00', 'no feature that an old QEMU would refuse');
    }
  });
}

test('converts everything where appending fails', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const real = await attempt(folder, raw, { commands: changes });
  await using other = await temporaryFolder();
  const template = await attempt(other, raw, { convert: ['-c'] });
  // An inspection that is not of this base: what is taken for qcow2 is a raw disk.
  const result = await repack({
    basePath: folder.file('base'),
    base: { ...real.base, qcow2: template.base.qcow2 },
    overlayPath: real.overlay,
    outputPath: real.output,
    outputFormat: 'qcow2',
    compression: 'zlib',
    unprivilegedIds,
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  assert.is(result.method, 'convert');
  assert.match(result.reason ?? '', /^appending the changes failed: /);
  await expectFaithful({ ...real, result });
});

test('the changes of a disk that was made larger are appended', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const done = await attempt(folder, raw, {
    convert: ['-c'],
    change: async ({ overlay }) => {
      await exec('qemu-img', ['resize', '-q', '-f', 'qcow2', overlay, '+8M']);
    },
  });
  assert.is(done.result.method, 'delta-append');
  const virtualSizeBytes = done.base.virtualSizeBytes + 8 * MiB;
  await expectFaithful({ ...done, base: { ...done.base, virtualSizeBytes } });
});

/** Text, noise and zeros, in pieces of any size at any place, also at the very end of the disk. */
function randomChanges(next: () => number, noise: string): string[] {
  return Array.from({ length: 12 }, (_, index) => {
    const size = 512 * (1 + Math.floor(next() * (index % 3 === 0 ? 1600 : 40)));
    const offset = index === 0 ? diskBytes - size : 512 * Math.floor((next() * (diskBytes - size)) / 512);
    // The table of partitions stays.
    const place = Math.min(Math.max(offset, rootOffsetBytes), diskBytes - size - 34 * 512);
    const kind = Math.floor(next() * 5);
    if (kind === 0) return `write -z ${place} ${size}`;
    if (kind === 1) return `discard ${place} ${size}`;
    if (kind === 2) return `write -P 0 ${place} ${size}`;
    return kind === 3 ? `write -s ${noise} ${place} ${size}` : `write -P ${1 + (index % 200)} ${place} ${size}`;
  });
}

for (const clusterSize of ['512', '4K', '64K', '2M']) {
  test(`changes upon changes are whole and leave no room unused, in clusters of ${clusterSize}`, async ({ raw }) => {
    await using folder = await temporaryFolder();
    const noise = folder.file('noise');
    await exec('dd', ['if=/dev/urandom', `of=${noise}`, 'bs=1M', 'count=1', 'status=none']);
    const { basePath } = await openBase(folder, raw, ['-c', '-o', `cluster_size=${clusterSize}`]);
    const [seed = 1] = fc.sample(fc.nat(), 1);
    let state = seed;
    const next = () => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return state / 2 ** 31;
    };
    for (let round = 0; round < 4; round++) {
      const base = await inspectImage(basePath, { maximumVirtualBytes });
      const overlay = folder.file(`overlay-${round}`);
      const output = folder.file(`output-${round}`);
      await createOverlay({ basePath, base, overlayPath: overlay });
      await changeDisk(overlay, randomChanges(next, noise));
      const result = await repack({
        ...{ basePath, base, overlayPath: overlay, outputPath: output, outputFormat: 'qcow2', compression: 'zlib' },
        ...{ unprivilegedIds, signal: new AbortController().signal, onProgress: () => {} },
      });
      assert.equal([result.method, result.reason], ['delta-append', undefined], `seed ${seed}`);
      await expectFaithful({ result, base, basePath, output, overlay, fractions: [] });
      await rename(output, basePath);
    }
  });
}

test('a table of reference counts that becomes too short is replaced', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const noise = folder.file('noise');
  await exec('dd', ['if=/dev/urandom', `of=${noise}`, 'bs=1M', 'count=3', 'status=none']);
  const done = await attempt(folder, raw, {
    convert: ['-c', '-o', 'cluster_size=512'],
    // One cluster of the table is enough for 8 MiB of a file.
    commands: [1, 2, 3].map((part) => `write -s ${noise} ${rootOffsetBytes + (8 + 4 * part) * MiB} 3M`),
    change: async ({ overlay }) => assert.ok((await stat(overlay)).size > 9 * MiB),
  });
  assert.equal([done.result.method, done.result.reason], ['delta-append', undefined]);
  const image = await expectFaithful(done);
  // Noise is stored as it is.
  const { allocatedBytes = 0, compressedBytes = 0 } = image.qcow2 ?? {};
  assert.ok(allocatedBytes - compressedBytes >= 9 * MiB);
});

test('what a build has deleted is not in the file', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const noise = folder.file('noise');
  await exec('dd', ['if=/dev/urandom', `of=${noise}`, 'bs=64K', 'count=4', 'status=none']);
  const secret = (await readFile(noise)).subarray(0, 4096);
  const withSecret = folder.file('secret.raw');
  await exec('cp', ['--sparse=always', raw, withSecret]);
  await exec('dd', [`if=${noise}`, `of=${withSecret}`, 'bs=64K', `seek=${512}`, 'conv=notrunc', 'status=none']);
  const done = await attempt(folder, withSecret, { convert: ['-c'], commands: [`discard ${512 * 64 * 1024} 256K`] });
  assert.is(done.result.method, 'delta-append');
  assert.ok((await readFile(folder.file('base'))).includes(secret));
  assert.not.ok((await readFile(done.output)).includes(secret));
  await expectFaithful(done);
});

test('an overlay whose tables share their data is refused', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const paths = await openBase(folder, raw, ['-c']);
  await changeDisk(paths.overlayPath, [`write -P 7 ${32 * MiB} 64K`]);
  const bytes = await readFile(paths.overlayPath);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l2 = Number(bytes.readBigUInt64BE(l1) & 0x00fffffffffffe00n);
  const entry = bytes.readBigUInt64BE(l2 + 512 * 8);
  for (let index = 0; index < 600; index++) bytes.writeBigUInt64BE(entry, l2 + index * 8);
  await writeFile(paths.overlayPath, bytes);
  const signal = new AbortController().signal;
  assert.match((await failure(readDelta(paths.overlayPath, signal))).message, /overlap/);
});

test('an aborted repack throws the reason and leaves no file', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const paths = await openBase(folder, raw, ['-c']);
  await changeDisk(paths.overlayPath, [`write -P 0x66 ${rootOffsetBytes + 6 * MiB} 12M`]);
  const before = await readdir(folder.path);
  const reason = new Error('stop');
  const controller = new AbortController();
  const repacking = repack({
    ...paths,
    outputPath: folder.file('output'),
    outputFormat: 'qcow2',
    compression: 'zstd',
    unprivilegedIds,
    signal: controller.signal,
    onProgress: () => controller.abort(reason),
  });
  const thrown = await repacking.then(
    () => null,
    (error: unknown) => error,
  );
  assert.is(thrown, reason);
  assert.equal((await readdir(folder.path)).sort(), before.sort());
});

test('a full disk is reported as such, and nothing is left on it', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const paths = await openBase(folder, raw, ['-c']);
  const small = folder.file('small');
  await mkdir(small);
  await exec('mount', ['-t', 'tmpfs', '-o', 'size=2M', 'tmpfs', small]);
  try {
    const repacking = repack({
      ...paths,
      outputPath: `${small}/output`,
      outputFormat: 'qcow2',
      compression: 'zlib',
      unprivilegedIds,
      signal: new AbortController().signal,
      onProgress: () => {},
    });
    assert.is((await failure(repacking)).code, 'disk.full');
    assert.equal(await readdir(small), []);
  } finally {
    await exec('umount', [small]);
  }
});

test('a tool that exceeds its limits is stopped, and says which', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const failureWith = async (limits: QemuLimits, source: string) => {
    const files = {
      source: { path: source, writable: false },
      output: { path: folder.file('output'), writable: true },
    };
    await using tools = await openQemuTools(files, unprivilegedIds);
    const args = ['convert', '-c', '-f', 'raw', '-O', 'qcow2', tools.names.source, tools.names.output];
    const { code, message } = await failure(tools.run('qemu-img', args, { limits }));
    return `${code}: ${message}`;
  };
  const fileSizeBytes = 2 ** 30;
  assert.match(
    await failureWith({ cpuSeconds: 60, fileSizeBytes: 256 * 1024 }, raw),
    /^tool\.failed: qemu-img convert wrote/,
  );
  const noise = folder.file('noise');
  await exec('dd', ['if=/dev/urandom', `of=${noise}`, 'bs=1M', 'count=100', 'status=none']);
  assert.match(
    await failureWith({ cpuSeconds: 1, fileSizeBytes }, noise),
    /^tool\.failed: qemu-img convert used up its CPU/,
  );
});

test('an output whose partitions are not those of the base is refused', async ({ raw }) => {
  await using folder = await temporaryFolder();
  const done = await attempt(folder, raw, {
    convert: ['-c'],
    change: async ({ overlay }) => {
      // The primary table goes, and with it the announcement of one.
      await changeDisk(overlay, ['write -z 0 64K']);
    },
  });
  const signal = new AbortController().signal;
  const error = await failure(
    verifyImage(done.output, { format: 'qcow2', base: done.base, maximumVirtualBytes, unprivilegedIds, signal }),
  );
  assert.is(error.code, 'image.output');
  assert.match(error.message, /partitions differ/);
});

test.run();
