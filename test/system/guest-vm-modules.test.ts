import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { prepareInitramfs, readBusybox } from '#lib/guest/vm/initramfs.ts';
import { findKernel, type GuestKernel, modulesToLoad } from '#lib/guest/vm/kernel.ts';
import { deviceModules, findMachine } from '#lib/guest/vm/machine.ts';
import { openPayload } from '#lib/guest/vm/payload.ts';
import { startVm } from '#lib/guest/vm/vm.ts';
import { openVmTests } from './guest-vm-disk.ts';

/** Kernels whose modules are compressed, as Debian has them from trixie on (xz) and Ubuntu from 24.04 on (zstd). */

const vm = await openVmTests('vm-modules');
const machine = await findMachine();
const names = [...machine.modules, ...deviceModules];

/** By what the file's name then ends in; with the options of the kernel's own scripts/Makefile.modinst. */
const compressors: Readonly<Record<string, readonly string[]>> = {
  '.xz': ['xz', '--check=crc32', '--lzma2=dict=1MiB', '--force'],
  '.zst': ['zstd', '--rm', '--force', '--quiet'],
  '.gz': ['gzip', '-n', '-f'],
};

/** This machine's kernel with the modules that a vm needs, each compressed in the next of the ways. */
async function compressedKernel(): Promise<GuestKernel> {
  const kernel = await findKernel('');
  const root = join(vm.directory, 'root');
  const directory = join(root, 'lib/modules', kernel.release);
  await mkdir(join(root, 'boot'), { recursive: true });
  await symlink(kernel.imagePath, join(root, 'boot', `vmlinuz-${kernel.release}`));
  await mkdir(directory, { recursive: true });
  await copyFile(join(kernel.modules.directory, 'modules.builtin'), join(directory, 'modules.builtin'));
  let dependencies = await readFile(join(kernel.modules.directory, 'modules.dep'), 'utf8');
  for (const [index, path] of modulesToLoad(kernel, names, []).entries()) {
    const endings = Object.keys(compressors);
    const ending = endings[index % endings.length] ?? '';
    const [tool = '', ...options] = compressors[ending] ?? [];
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await copyFile(join(kernel.modules.directory, path), join(directory, path));
    await exec(tool, [...options, join(directory, path)]);
    dependencies = dependencies.replaceAll(new RegExp(`${RegExp.escape(path)}(?=[: \\n])`, 'g'), `${path}${ending}`);
  }
  await writeFile(join(directory, 'modules.dep'), dependencies);
  return await findKernel('', root);
}

test('a vm starts with modules that are stored compressed', async () => {
  const kernel = await compressedKernel();
  const endings = modulesToLoad(kernel, names, []).map((path) => /\.ko(.*)$/.exec(path)?.[1]);
  assert.equal([...new Set(endings)].sort(), Object.keys(compressors).sort());
  const directory = join(vm.directory, 'guest');
  const initramfsPath = await prepareInitramfs({
    ...{ kernel, busybox: await readBusybox() },
    modules: names,
    optionalModules: [],
    program: null,
    directory,
  });
  await using payload = await openPayload(directory);
  await using running = await startVm(
    {
      ...{ machine, accelerator: 'tcg', kernelPath: kernel.imagePath, initramfsPath, directory, limits: vm.settings },
      ...{ memoryBytes: vm.settings.vmMemoryBytes, cpus: 1, overlay: null, proxy: null, user: null },
      ...{ statePath: null, saveFolder: null },
      disks: [{ source: { rawPath: payload.path, readOnly: true }, serial: 'payload' }],
    },
    300_000,
    new AbortController().signal,
  );
  assert.equal(
    running.console().filter((line) => line.includes('cannot be loaded')),
    [],
  );
});

test.after(vm.remove);

test.run();
