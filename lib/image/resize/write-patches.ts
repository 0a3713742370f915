import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import type { IdRange } from '../../privileges.ts';
import type { ImageInspection } from '../inspection.ts';
import type { ImageFile } from '../lent-images.ts';
import { limitsFor, openQemuTools } from '../qemu-img.ts';
import type { Patch } from './patch.ts';

export interface PatchOptions {
  readonly basePath: string;
  readonly base: Pick<ImageInspection, 'format' | 'virtualSizeBytes'>;
  readonly overlayPath: string;
  /** An existing folder that only this build uses. */
  readonly workDirectory: string;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** Writes to the disk of an overlay, which no process has open. Throws `tool.failed`, `disk.full` or the signal's reason. */
export async function writePatches(patches: readonly Patch[], options: PatchOptions): Promise<void> {
  if (patches.length === 0) return;
  const files: Record<string, ImageFile> = {
    base: { path: options.basePath, writable: false },
    overlay: { path: options.overlayPath, writable: true },
  };
  for (const [index, { bytes }] of patches.entries()) {
    const path = join(options.workDirectory, `patch-${index}`);
    await writeFile(path, bytes);
    files[`patch${index}`] = { path, writable: false };
  }
  await using tools = await openQemuTools(files, options.unprivilegedIds);
  const { names } = tools;
  const file = (filename: string | undefined) => ({ driver: 'file', filename });
  const backing = { driver: options.base.format, file: file(names.base) };
  const disk = { driver: 'qcow2', backing, file: file(names.overlay) };
  const commands = patches.map(
    ({ offset, bytes }, index) => `write -q -s ${names[`patch${index}`]} ${offset} ${bytes.length}\n`,
  );
  let refused: string | undefined;
  await tools.run('qemu-io', ['-t', 'unsafe', `json:${JSON.stringify(disk)}`], {
    limits: limitsFor(options.base.virtualSizeBytes),
    signal: options.signal,
    input: commands.join(''),
    onLine: (line) => {
      if (/failed|error|invalid|unknown/i.test(line)) refused ??= line;
    },
  });
  if (refused !== undefined) throw new ImageBuilderError('tool.failed', `qemu-io write failed: ${refused}`);
}
