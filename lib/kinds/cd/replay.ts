import { mkdir, open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImageBuilderError, saysNoSpace } from '../../errors.ts';
import { ExecError, type ExecOptions, exec } from '../../exec.ts';
import type { IsoInspection } from '../../iso9660/inspect.ts';
import type { Owner } from '../../iso9660/rock-ridge.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import { type IdRange, privilegeArguments, type UnprivilegedUser } from '../../privileges.ts';
import { formatBytes } from '../../text.ts';
import { endProcesses, giveTo, openForeignFile, openToolHome } from '../../unprivileged.ts';
import type { SplicedLayers } from './layer-data.ts';
import type { NewFiles } from './new-lists.ts';

export interface ReplayOptions {
  /** An inspected medium. */
  readonly mediumPath: string;
  readonly medium: IsoInspection;
  readonly files: NewFiles;
  /** Of these, the layers that only get their room, which is written later. */
  readonly later: SplicedLayers;
  /** A new file. */
  readonly outputPath: string;
  readonly maximumBytes: number;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
  /** Called with the finished part, 0 to 1. */
  readonly onProgress: (fraction: number) => void;
}

/** Of files that the base has not: that of most files on media. */
const usualOwner: Owner = { mode: 0o444, uid: 0, gid: 0 };
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
  await mkdir(join(home.path, 'room'));
  const changed = [...options.files].map(([path, file], index) => {
    const layerBytes = options.later.get(path)?.layerBytes ?? null;
    return { path, file, layerBytes, name: layerBytes === null ? `file${index}` : `room/file${index}` };
  });
  for (const { file, name, layerBytes } of changed) {
    if (layerBytes === null) await rename(file, join(home.path, name));
  }
  await giveTo(home.user, home.path);
  // The medium lies in the cache, where that user finds nothing by its path.
  await using base = await open(mediumPath, 'r');
  const words = [
    ...['-no_rc', '-abort_on', 'FAILURE', '-return_with', 'FAILURE', '32'],
    // Names on the medium are names, whatever characters they have.
    ...['-iso_rr_pattern', 'off', '-disk_pattern', 'off'],
    // The volume id stays while no argument names it, which could not have all of its bytes. xorriso makes up an absent one.
    ...['-indev', 'stdio:/proc/self/fd/3', '-outdev', `stdio:${here}/output`],
    ...(medium.volumeId === '' ? ['-volid', ''] : []),
    // Without being asked for, the trees of Joliet and of ISO 9660:1999 names are left out.
    ...['-joliet', medium.trees.joliet === null ? 'off' : 'on', '-boot_image', 'any', 'replay'],
    ...['-compliance', `no_emul_toc:joliet_long_names${medium.trees.enhanced === null ? '' : ':iso_9660_1999'}`],
    // A medium that boots nothing has the date of today otherwise, and with it another UUID.
    ...(medium.uuid === null ? [] : ['-volume_date', 'uuid', medium.uuid.replaceAll('-', '')]),
    // xorriso would wait for the disk every 16 MB; what stores the medium waits for it once.
    ...['-padding', 'included', '-stdio_sync', 'off'],
    ...changed.flatMap(({ path, name }) => ['-map', `${here}/${name}`, `/${path}`]),
    ...changed.flatMap(({ path }) => ownerWords(path, medium.files.get(path)?.owner ?? usualOwner)),
    // xorriso gives folders that it makes to its own user.
    ...newFolders(options.files.keys(), medium.files).flatMap((path) =>
      ownerWords(path, { ...usualOwner, mode: 0o555 }),
    ),
  ];
  const limits = [`--cpu=${120 + Math.ceil(maximumBytes / 2 ** 22)}`, `--fsize=${maximumBytes}`, '--core=0', '--'];
  const onLine = replayProgress(options.onProgress);
  const sizes = changed.flatMap(({ name, layerBytes }) => (layerBytes === null ? [] : [`${name} ${layerBytes}`]));
  await execInRoom(sizes, ['prlimit', ...limits, 'xorriso', ...words], home.user, {
    ...{ signal, inherited: [base.fd], cwd: home.path, onLine },
  }).catch((error: unknown) => Promise.reject(explain(error)));
  await endProcesses(home.user);
  const output = join(home.path, 'output');
  await using written = await openForeignFile(output);
  await written.chown(process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  await written.chmod(0o600);
  await rename(output, outputPath);
}

/**
 * Shell text that makes files in the folder `room`, by the lines `NAME BYTES` of `$2`, which have sizes and no content, and
 * becomes the program of the further arguments. With `$1`, they are in a tmpfs that this program alone sees, and that ends
 * with it: the holes of files there are read without any memory, those of other file systems fill the cache of pages.
 */
const roomScript = `
set -eu
if [ "$1" = tmpfs ]; then mount -t tmpfs -o size=64k,mode=755,nosuid,nodev,noexec room room 2>/dev/null || :; fi
echo "$2" | (
  umask 022
  while read -r name bytes; do [ -z "$name" ] || truncate -s "$bytes" "$name"; done
)
shift 2
exec "$@"
`;

/** Runs a command as `user` with files of these sizes, lines for `roomScript`. Throws as `exec` does. */
async function execInRoom(
  sizes: readonly string[],
  command: readonly string[],
  user: UnprivilegedUser | null,
  options: ExecOptions,
): Promise<void> {
  const lines = sizes.join('\n');
  // Security modules and filters of system calls may refuse it, whatever the capabilities are.
  const { exitCode } = await exec('unshare', ['--mount', 'true'], { okExitCodes: [0, 1] });
  if (exitCode !== 0) {
    await exec('sh', ['-c', roomScript, 'room', '', lines, ...command], { ...options, user });
    return;
  }
  const asUser = ['setpriv', '--pdeathsig', 'KILL', ...privilegeArguments(user), '--'];
  await exec(
    'unshare',
    ['--mount', '--', 'sh', '-c', roomScript, 'room', 'tmpfs', lines, ...asUser, ...command],
    options,
  );
}

/** Turns lines such as `xorriso : UPDATE : Writing:     135168s   55.7%   fifo  91%` into fractions. */
export function replayProgress(onProgress: (fraction: number) => void): (line: string) => void {
  return (line) => {
    if (!line.startsWith('xorriso : UPDATE : Writing:')) return;
    const percent = / ([0-9]{1,3}(?:\.[0-9]{1,3})?)% /.exec(line.slice(0, 100))?.[1];
    if (percent !== undefined) onProgress(Math.min(1, Number(percent) / 100));
  };
}

function ownerWords(path: string, { mode, uid, gid }: Owner): string[] {
  const place = [`/${path}`, '--'];
  const permissions = `0${(mode & 0o7777).toString(8)}`;
  return ['-chmod', permissions, ...place, '-chown', String(uid), ...place, '-chgrp', String(gid), ...place];
}

/** The folders above the files that the base has not. */
function newFolders(paths: Iterable<string>, files: IsoTree): string[] {
  const folders = new Set<string>();
  for (const path of paths) {
    for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) folders.add(path.slice(0, at));
  }
  return [...folders].filter((path) => !files.has(path));
}

function explain(error: unknown): unknown {
  if (!(error instanceof ExecError)) return error;
  const why = error.logTail.findLast((line) => /: (?:FAILURE|FATAL|SORRY) :/.test(line)) ?? error.logTail.at(-1) ?? '';
  // It looks for the room before it writes.
  const [, wanted, free] = /Image size (\d{1,15})s exceeds free space on media (\d{1,15})s/.exec(why) ?? [];
  const blocks = (count: string) => formatBytes(Number(count) * 2048);
  const need = wanted && free ? `: the new medium takes ${blocks(wanted)}, and it has ${blocks(free)}` : '';
  return need !== '' || saysNoSpace(error.stderr)
    ? new ImageBuilderError('disk.full', `xorriso found no space left on the device that the worker works on${need}`)
    : new ImageBuilderError('tool.failed', `xorriso failed: ${why}`, { cause: error, logTail: error.logTail });
}
