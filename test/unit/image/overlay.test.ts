import { stat } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { renderEmptyQcow2 } from '#lib/empty-qcow2.ts';
import { exec } from '#lib/exec.ts';
import { createOverlay } from '#lib/image/overlay.ts';
import { failure } from '../../failure.ts';
import { temporaryFolder } from './temporary.ts';

/** Of `qemu-img info`, all that does not depend on the path. */
async function describe(path: string): Promise<unknown> {
  const { stdout } = await exec('qemu-img', ['info', '-f', 'qcow2', '--output=json', path]);
  const { filename: _name, 'actual-size': _size, children: _children, ...rest } = JSON.parse(stdout);
  return rest;
}

for (const clusterBits of [16, 17, 21]) {
  for (const sizeBytes of [512, 2 ** 29, 2 ** 29 + 1000, 2 ** 40, 2 ** 45]) {
    test(`an overlay of ${sizeBytes} bytes by clusters of 2^${clusterBits} is as qemu-img makes it`, async () => {
      await using folder = await temporaryFolder();
      const [basePath, ours, theirs] = [folder.file('base'), folder.file('ours'), folder.file('theirs')];
      await exec('truncate', ['-s', '1M', basePath]);
      const qcow2 = { clusterSizeBytes: 2 ** clusterBits } as never;
      const base = { format: 'raw', virtualSizeBytes: sizeBytes, qcow2 } as const;
      await createOverlay({ basePath, base, overlayPath: ours });
      const options = `compat=1.1,cluster_size=${2 ** clusterBits}`;
      const words = ['create', '-q', '-f', 'qcow2', '-o', options, '-u', '-F', 'raw', '-b', basePath];
      await exec('qemu-img', [...words, theirs, String(sizeBytes)]);
      assert.equal(await describe(ours), await describe(theirs));
      await exec('qemu-img', ['check', '-q', '-f', 'qcow2', ours]);
      assert.is((await stat(ours)).mode & 0o777, 0o600);
    });
  }
}

test('a disk that QEMU would not take is refused', async () => {
  const render = () =>
    renderEmptyQcow2({
      ...{ clusterBytes: 65_536, virtualSizeBytes: 2 ** 52 },
      backing: { path: '/base', format: 'raw' },
    });
  assert.is((await failure(Promise.resolve().then(render))).code, 'image.too_large');
});

test.run();
