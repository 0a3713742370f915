import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { chooseGuest } from '#lib/guest/choose.ts';
import { growProgram } from '#lib/guest/grow.ts';
import { cloud } from '#lib/kinds/cloud/cloud.ts';
import { createLog } from '#lib/log.ts';
import { smallImage } from './faults/small-image.ts';

/** A disk that grows to the size that the request wants, with its partition and its file system. */

const MiB = 2 ** 20;
const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-disk-size-'));
const log = createLog({ level: 'error' });
const { signal } = new AbortController();
const onNotice = () => undefined;

test.after(() => rm(directory, { recursive: true, force: true }));

const wantedBytes = 3 * 1024 * MiB;

for (const kind of ['host', 'vm'] as const) {
  test(`${kind}: the root file system has the new room before anything is installed, and the result is whole`, async () => {
    const config = loadConfig({ IMAGEBUILDER_GUEST: kind });
    const workDirectory = join(directory, kind);
    await mkdir(workDirectory);
    const { path, sizeBytes } = await smallImage();
    const { maximumVirtualBytes } = config.limits;
    const { unprivilegedIds } = config.tools;
    const inspected = await cloud.inspect(
      {
        ...{ path, url: 'http://x/image', sizeBytes, sha256: '0'.repeat(64), fromCache: true, isSound: true },
        ...{ verifiedBy: 'unverified', checksumsUrl: null, checksumAlgorithms: [], signedBy: null },
      },
      {
        ...{ workDirectory, maximumVirtualBytes, unprivilegedIds, outputFormat: 'qcow2', diskBytes: wantedBytes },
        ...{ baseImage: exampleRequest.base_image, signal, onNotice, onProgress: onNotice },
      },
    );
    assert.is(inspected.size.diskBytes, wantedBytes);
    const settings = { ...config.guest, ...config.tools, ...config.folders };
    const { guest } = await chooseGuest({ setting: kind, directory: workDirectory, vm: settings, host: settings, log });
    const place = { overlayPath: join(workDirectory, 'overlay.qcow2'), workDirectory, buildId: kind };
    const disk = await inspected.open(place, { signal });
    {
      await using session = await guest.open(disk, { signal, onNotice, binds: [] });
      const { stdout } = await session.run({ name: 'look', text: 'df -k --output=size / | tail -1; echo new >/grown' });
      assert.ok(Number(stdout) > 0.9 * (wantedBytes / 1024), stdout);
      await session.close();
    }
    const output = join(workDirectory, 'output.qcow2');
    const lines: string[] = [];
    const onLog = (line: string) => lines.push(line);
    await inspected.pack(disk, output, {
      ...{ compression: 'zlib', xzPreset: 6, xzThreads: 2 },
      signal,
      onProgress: onNotice,
      onLog,
      onWarning: onNotice,
    });
    assert.equal(lines, ['packed by delta-append']);
    await inspected.check(output, 'output.qcow2', { signal, onProgress: onNotice });
    await exec('qemu-img', ['compare', '-f', 'qcow2', '-F', 'qcow2', place.overlayPath, output]);

    const raw = join(workDirectory, 'raw');
    await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', output, raw]);
    assert.match((await exec('sfdisk', ['--verify', raw])).stdout, 'No errors detected');
    const { partitiontable } = JSON.parse((await exec('sfdisk', ['--json', raw])).stdout);
    const [root] = partitiontable.partitions as { start: number; size: number }[];
    assert.ok(root !== undefined && (root.start + root.size) * 512 > wantedBytes - MiB);
    const file = join(workDirectory, 'root');
    await exec('dd', [`if=${raw}`, `of=${file}`, 'bs=1M', `skip=${root.start / 2048}`, 'conv=sparse', 'status=none']);
    await exec('truncate', ['--size', String(root.size * 512), file]);
    await exec('e2fsck', ['-fn', file]);
    for (const each of [raw, file]) await rm(each);
  });
}

for (const [type, command] of Object.entries({
  xfs: ['mkfs.xfs', '-q', '-f'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
})) {
  test(`a mounted ${type} takes up a device that has become larger`, async () => {
    const [file, place] = ['file', 'mount'].map((name) => join(directory, `${type}-${name}`)) as [string, string];
    await mkdir(place);
    await exec('truncate', ['--size', '400M', file]);
    await exec(command[0] ?? '', [...command.slice(1), file]);
    await exec('truncate', ['--size', '800M', file]);
    await exec('mount', ['-o', 'loop', file, place]);
    try {
      await exec('perl', [growProgram, place, type, String(800 * MiB)]);
      const { stdout } = await exec('df', ['-k', '--output=size', place]);
      assert.ok(Number(stdout.split('\n')[1]) > 700 * 1024, stdout);
    } finally {
      await exec('umount', [place]);
    }
  });
}

test.run();
