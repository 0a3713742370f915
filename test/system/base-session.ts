import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { createLog } from '#lib/log.ts';

/** Runs a script in an image, as its owner would, without what a build lends it. Resolves with its output. */
export async function runInImage(path: string, directory: string, text: string): Promise<string> {
  return (await change(path, directory, text, async () => undefined)).stdout;
}

/** The same, and packs the image again. Resolves with its path. */
export async function changeImage(path: string, directory: string, text: string): Promise<string> {
  const changed = join(directory, 'changed.qcow2');
  await change(path, directory, text, async (overlay) => {
    await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'qcow2', overlay, changed]);
  });
  return changed;
}

async function change(path: string, directory: string, text: string, keep: (overlay: string) => Promise<void>) {
  const workDirectory = await mkdtemp(join(directory, 'change-'));
  await chmod(workDirectory, 0o711);
  const overlayPath = join(workDirectory, 'overlay.qcow2');
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', path, '-F', 'qcow2', overlayPath]);
  const signal = new AbortController().signal;
  const { partitions } = await inspectImage(path, { maximumVirtualBytes: 2 ** 34, signal });
  const { guest: limits, tools } = loadConfig({});
  const guest = createHostGuest({ limits, ids: tools.unprivilegedIds, log: createLog({ level: 'error' }) });
  const base = { path, format: 'qcow2' } as const;
  const disk = { overlayPath, base, partitions, workDirectory, buildId: 'change' };
  await using session = await guest.open(disk, { signal, onNotice: () => {}, binds: [] });
  const output = await session.run({ name: 'change', text });
  await session.close();
  await keep(overlayPath);
  await rm(workDirectory, { recursive: true });
  return output;
}
