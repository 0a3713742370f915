import { open } from 'node:fs/promises';
import { exec } from '#lib/exec.ts';
import { attributesOf, deviceNumbers } from '#lib/squashfs/entry.ts';
import { openSquashfs, type Squashfs, type SquashfsLimits } from '#lib/squashfs/open.ts';
import type { FileSpec, Files } from './files.ts';
import { writeTar } from './write-tar.ts';

/** Makes SquashFS files by the programs of squashfs-tools, and reads them by the project's own reader. */

export const limits: SquashfsLimits = {
  maximumContentBytes: 2 ** 40,
  maximumInodes: 2_000_000,
  maximumTableBytes: 2 ** 28,
  unprivilegedIds: { first: 2_000_000_000, last: 2_000_065_535 },
  signal: new AbortController().signal,
};

/** By mksquashfs, which ignores the root of an archive. sqfstar 4.5.1 knows no options of compressors that have a value. */
export async function makeSquashfs(path: string, files: Files, ...options: readonly string[]): Promise<void> {
  // As of a folder, unless the options say otherwise.
  const exports = options.includes('-no-exports') ? [] : ['-exports'];
  const fixed = ['-tar', '-quiet', '-no-progress', '-processors', '1', '-mem', '64M'];
  await exec('mksquashfs', ['-', path, ...fixed, ...exports, ...options], { input: writeTar(files) });
}

/** A SquashFS that starts at `offset` of a file, and is open until it is disposed of. */
export async function openFile(
  path: string,
  { offset = 0, ...changed }: Partial<SquashfsLimits> & { readonly offset?: number } = {},
): Promise<AsyncDisposable & { readonly squashfs: Squashfs }> {
  await using opened = new AsyncDisposableStack();
  const handle = opened.use(await open(path));
  const { size } = await handle.stat();
  const squashfs = await openSquashfs({ handle, offset, length: size - offset }, { ...limits, ...changed });
  const kept = opened.move();
  return { squashfs, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Everything in it but the root, for comparison. */
export async function readFiles(squashfs: Squashfs): Promise<Files> {
  const files = new Map<string, FileSpec>();
  for (const { path, inode } of squashfs.entries()) {
    const attributes = Object.fromEntries(attributesOf(squashfs, inode).map(({ name, value }) => [name, value]));
    const device = inode.type === 'block' || inode.type === 'character' ? deviceNumbers(inode.device) : null;
    files.set(Buffer.from(path, 'latin1').toString(), {
      ...{ type: inode.type, mode: inode.mode, uid: inode.uid, gid: inode.gid },
      modifiedSeconds: inode.modifiedSeconds,
      attributes,
      ...(inode.type === 'file' ? { content: await squashfs.read(inode, 2 ** 26) } : {}),
      ...(inode.type === 'symlink' ? { target: Buffer.from(inode.target, 'latin1').toString() } : {}),
      ...(device === null ? {} : { device: [device.major, device.minor] as const }),
      inode: String(inode.number),
    });
  }
  return files;
}
