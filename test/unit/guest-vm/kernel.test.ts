import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { canOpen, findKernel, modulesToLoad } from '#lib/guest/vm/kernel.ts';

/** A root with kernels, each with its modules.dep; null for one whose modules are not there. */
async function withKernels(
  kernels: Readonly<Record<string, string | null>>,
  body: (root: string) => Promise<void>,
): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'imagebuilder-kernel-'));
  try {
    await mkdir(join(root, 'boot'));
    for (const [release, dependencies] of Object.entries(kernels)) {
      await writeFile(join(root, 'boot', `vmlinuz-${release}`), '');
      if (dependencies === null) continue;
      const directory = join(root, 'lib/modules', release);
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, 'modules.dep'), dependencies);
      await writeFile(join(directory, 'modules.builtin'), 'kernel/fs/ext4/ext4.ko\n');
    }
    await body(root);
  } finally {
    await rm(root, { recursive: true });
  }
}

async function error(promise: Promise<unknown>): Promise<ImageBuilderError> {
  const thrown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.instance(thrown, ImageBuilderError);
  return thrown as ImageBuilderError;
}

test('the newest kernel whose modules are there is taken', async () => {
  await withKernels({ '6.1.9-amd64': '', '6.1.40-amd64': '', '6.12.0-amd64': null }, async (root) => {
    const kernel = await findKernel('', root);
    assert.is(kernel.release, '6.1.40-amd64');
    assert.is(kernel.imagePath, join(root, 'boot/vmlinuz-6.1.40-amd64'));
    assert.is((await findKernel(join(root, 'boot/vmlinuz-6.1.9-amd64'), root)).release, '6.1.9-amd64');
  });
});

test('without a kernel, what to install is said', async () => {
  await withKernels({}, async (root) => {
    const { code, message } = await error(findKernel('', root));
    assert.is(code, 'guest.unavailable');
    assert.match(message, /there is none in \/boot.*apt-get install linux-image/);
  });
  await withKernels({ '6.1.0': null }, async (root) => {
    assert.match((await error(findKernel('', root))).message, /lib\/modules\/6\.1\.0\/modules\.dep is not there/);
  });
});

const dependencies = `kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/char/hw_random/virtio-rng.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
`;

test('modules come after those that they need, once, and built-in ones not at all', async () => {
  await withKernels({ '6.1.0': dependencies }, async (root) => {
    const kernel = await findKernel('', root);
    assert.equal(modulesToLoad(kernel, ['virtio_rng', 'virtio_pci', 'ext4'], ['nls_utf8', 'libcrc32c']), [
      'kernel/drivers/virtio/virtio_ring.ko.xz',
      'kernel/drivers/virtio/virtio.ko.xz',
      'kernel/drivers/char/hw_random/virtio-rng.ko.xz',
      'kernel/drivers/virtio/virtio_pci.ko.xz',
      'kernel/lib/libcrc32c.ko.xz',
    ]);
    assert.throws(() => modulesToLoad(kernel, ['isofs'], []), /the kernel 6\.1\.0 for the vm has no isofs/);
  });
});

test('a kernel opens the file systems that it has modules for', async () => {
  await withKernels({ '6.1.0': dependencies }, async (root) => {
    const kernel = await findKernel('', root);
    assert.equal(
      (['ext2', 'ext4', 'xfs', 'btrfs', 'vfat', 'swap'] as const).filter((type) => canOpen(kernel, type)),
      ['ext2', 'ext4', 'xfs'],
    );
  });
});

test.run();
