import { open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImageBuilderError, saysNoSpace } from '../../errors.ts';
import { ExecError, exec } from '../../exec.ts';
import type { IsoInspection } from '../../iso9660/inspect.ts';
import type { IdRange } from '../../privileges.ts';
import { endProcesses, giveTo, openForeignFile, openToolHome } from '../../unprivileged.ts';
import type { NewFiles } from './new-lists.ts';

export interface ReplayOptions {
  /** An inspected medium. */
  readonly mediumPath: string;
  readonly medium: IsoInspection;
  readonly files: NewFiles;
  /** A new file. */
  readonly outputPath: string;
  readonly maximumBytes: number;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** The current folder, by a path that its user can follow although it may not search the folders above. */
const here = '/proc/self/cwd';

/**
 * Writes a medium with other content in some of its files, and all else as it was: xorriso replays the boot equipment, the
 * hybrid partition tables included, as a user of its own in a folder that has these files only; they are gone afterwards.
 * Throws `tool.failed`, `disk.full`, or the reason of the signal.
 */
export async function replayMedium(options: ReplayOptions): Promise<void> {
  const { mediumPath, medium, outputPath, maximumBytes, unprivilegedIds, signal } = options;
  await using home = await openToolHome(dirname(outputPath), 'medium-', unprivilegedIds);
  const changed = [...options.files].map(([path, file], index) => ({ path, file, name: `file${index}` }));
  for (const { file, name } of changed) await rename(file, join(home.path, name));
  await giveTo(home.user, home.path);
  // The medium lies in the cache, where that user finds nothing by its path.
  await using base = await open(mediumPath, 'r');
  const words = [
    ...['-no_rc', '-abort_on', 'FAILURE', '-return_with', 'FAILURE', '32'],
    ...['-indev', 'stdio:/proc/self/fd/3', '-outdev', `stdio:${here}/output`, '-volid', medium.volumeId],
    // Without being asked for, the tree of Joliet names is left out.
    ...['-joliet', medium.trees.joliet === null ? 'off' : 'on', '-boot_image', 'any', 'replay'],
    ...['-compliance', 'no_emul_toc:joliet_long_names', '-padding', 'included'],
    ...changed.flatMap(({ path, name }) => ['-map', `${here}/${name}`, `/${path}`]),
    ...changed.flatMap(({ path }) => ['-chown', '0', `/${path}`, '--', '-chgrp', '0', `/${path}`, '--']),
    ...changed.flatMap(({ path }) => ['-chmod', '0444', `/${path}`, '--']),
  ];
  const limits = [`--cpu=${120 + Math.ceil(maximumBytes / 2 ** 22)}`, `--fsize=${maximumBytes}`, '--core=0', '--'];
  const run = { user: home.user, signal, inherited: [base.fd], cwd: home.path };
  await exec('prlimit', [...limits, 'xorriso', ...words], run).catch((error: unknown) =>
    Promise.reject(explain(error)),
  );
  await endProcesses(home.user);
  const output = join(home.path, 'output');
  await using written = await openForeignFile(output);
  await written.chown(process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  await written.chmod(0o600);
  await rename(output, outputPath);
}

function explain(error: unknown): unknown {
  if (!(error instanceof ExecError)) return error;
  const why = error.logTail.findLast((line) => /FAILURE|FATAL|SORRY/.test(line)) ?? error.logTail.at(-1) ?? '';
  return saysNoSpace(error.stderr)
    ? new ImageBuilderError('disk.full', 'xorriso found no space left on the device that the worker works on')
    : new ImageBuilderError('tool.failed', `xorriso failed: ${why}`, { cause: error, logTail: error.logTail });
}
