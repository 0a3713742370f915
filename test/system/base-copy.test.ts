import { randomBytes } from 'node:crypto';
import { statfsSync } from 'node:fs';
import { readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { uncompressedFolder } from '#lib/fetch/uncompressed-images.ts';
import { copyContent } from '#lib/image/qcow2/content.ts';
import type { UncompressedDisk } from '#lib/kinds/kind.ts';
import { createLog } from '#lib/log.ts';
import { readBaseContent } from '#lib/pipeline/base-content.ts';
import { findBaseCopy } from '#lib/pipeline/base-copy.ts';
import { type Build, MiB, smallDisks, startBuild, work, write } from './small-disks.ts';

/** Uncompressed copies of base images, on disks that have no room for them. */

const { signal } = new AbortController();
const { directory, fileSystem } = smallDisks();
const dataMiB = 24;
const reserveMiB = 10;
/** Its needs before a change are twice its changes, and itself: 25 MiB. */
const size = { diskBytes: 12 * MiB, fileBytes: MiB, packedBytes: MiB };
const needMiB = 25;
const quiet = { begin() {}, progress() {}, notice() {}, log() {}, guest() {} };

const fileOf = (path: string) => ({
  ...{ path, sizeBytes: 0, sha256: 'a'.repeat(64), url: 'http://127.0.0.1/base', fromCache: false, isSound: false },
  ...{ verifiedBy: 'unverified' as const, checksumsUrl: null, checksumAlgorithms: [], signedBy: null },
});

interface Base {
  readonly file: ReturnType<typeof fileOf>;
  readonly uncompressed: UncompressedDisk;
}

/** A compressed image with so many bytes of data. */
async function makeBase(): Promise<Base> {
  const [raw, path] = [join(directory(), 'base.raw'), join(directory(), 'base.qcow2')];
  await writeFile(raw, randomBytes((dataMiB * MiB) / 2).toString('hex'));
  await exec('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, path]);
  await rm(raw);
  const copy: UncompressedDisk['copy'] = (target, stopped) => copyContent(path, target, stopped);
  return { file: fileOf(path), uncompressed: { storedBytes: dataMiB * MiB, copy } };
}

let made: Promise<Base>;
test.before(() => {
  made = makeBase();
});

const settingsOf = (disk: string) => ({ cacheDirectory: join(disk, 'cache'), imageCacheBytes: 2 ** 30 });

async function findCopy(disk: string, { space, workDirectory }: Build) {
  const { file, uncompressed } = await made;
  const log = createLog({ level: 'warn' });
  return await findBaseCopy(file, { uncompressed, size }, settingsOf(disk), workDirectory, {
    ...{ space, log, reporter: quiet },
  });
}

async function read(disk: string, newCopy: Awaited<ReturnType<typeof findCopy>>['begun'], lines: string[]) {
  const { file, uncompressed } = await made;
  const readContent = () => Promise.reject(new Error('the copy reads it'));
  const log = createLog({ write: (line) => void lines.push(line) });
  return readBaseContent(file, { readContent, uncompressed }, newCopy, settingsOf(disk), { signal, log });
}

const freeMiB = (disk: string) => {
  const { bavail, bsize } = statfsSync(disk);
  return (bavail * bsize) / MiB;
};

const below = (disk: string, name: string) => readdir(join(disk, 'cache', uncompressedFolder, name));

test('a copy is made where the disk has room for the build, for it and for another, and nowhere else', async () => {
  const enoughMiB = needMiB + 2 * dataMiB + reserveMiB;
  for (const [sizeMiB, isMade] of [
    [enoughMiB + 2, true],
    [enoughMiB - 1, false],
  ] as const) {
    const disk = await fileSystem(sizeMiB);
    await using build = await startBuild(disk, reserveMiB);
    const { begun, path } = await findCopy(disk, build);
    assert.is(path, undefined);
    assert.is(begun !== undefined, isMade);
    {
      await using reading = await read(disk, begun, []);
      if (isMade) await reading.whole();
    }
    assert.is((await below(disk, 'blobs')).length, isMade ? 1 : 0);
    const found = await findCopy(disk, build);
    assert.is(found.path !== undefined, isMade);
    assert.is(found.begun, undefined);
  }
});

test('a disk that gets full while a copy is written has its room again at once, and the build goes on', async () => {
  const disk = await fileSystem(120);
  await using build = await startBuild(disk, 0);
  const { begun } = await findCopy(disk, build);
  await write(join(disk, 'other'), 120 - dataMiB / 2);
  const before = freeMiB(disk);
  const lines: string[] = [];
  {
    await using reading = await read(disk, begun, lines);
    await reading.whole();
    assert.ok(before - freeMiB(disk) < 1, 'the copy takes nothing while the build goes on');
  }
  assert.equal([await below(disk, 'parts'), await below(disk, 'blobs')], [[], []]);
  assert.match(lines.join(''), /no uncompressed copy.*no space left on device/i);
});

test('a copy that is being written gives way to a build that needs its room', async () => {
  const disk = await fileSystem(120);
  await using first = await startBuild(disk, reserveMiB);
  const { begun } = await findCopy(disk, first);
  // All but its end, at which its writer looks whether the file is still there.
  await write(begun?.path ?? '', dataMiB);
  await using second = await startBuild(disk, reserveMiB);
  await second.space.claim(work(100));
  assert.is(await stat(begun?.path ?? '').catch(() => null), null);
  await begun?.[Symbol.asyncDispose]();
});

test.run();
