import { type FileHandle, open, rm } from 'node:fs/promises';
import { exec } from '#lib/exec.ts';
import { type OpenedArchive, sameBytes } from '#lib/tar/merge/compare.ts';
import { readRootArchive } from '#lib/tar/root-archive.ts';
import { plain } from '#lib/text.ts';

/** The members of an archive by what has become of them. One character for each byte of a name. */
export interface MemberChanges {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
  readonly keptCount: number;
}

/**
 * Compares two archives of root file systems, packed by gzip, byte by byte. `scratchPath` is a path for temporary files.
 * Throws as `readRootArchive` does.
 */
export async function compareMembers(
  basePath: string,
  imagePath: string,
  scratchPath: string,
  signal: AbortSignal,
): Promise<MemberChanges> {
  await using opened = new AsyncDisposableStack();
  const unpack = async (path: string, name: string): Promise<OpenedArchive> => {
    const unpacked = `${scratchPath}-${name}.tar`;
    opened.defer(() => rm(unpacked, { force: true }));
    await exec('sh', ['-c', 'exec gzip --decompress <"$1" >"$2"', 'sh', path, unpacked], { signal });
    const handle: FileHandle = opened.use(await open(unpacked));
    const region = { handle, offset: 0, length: (await handle.stat()).size };
    const limits = { maximumEntries: 2_000_000, maximumNameBytes: 2 ** 28, scope: 'whole', signal } as const;
    return { ...(await readRootArchive(region, limits)), region };
  };
  const [before, after] = [await unpack(basePath, 'base'), await unpack(imagePath, 'image')];
  const changed: string[] = [];
  const removed: string[] = [];
  for (const [path, entry] of before.entries) {
    const now = after.entries.get(path);
    if (now === undefined) removed.push(path);
    else {
      const place = ({ region }: OpenedArchive, { startAt, endAt }: typeof entry) => ({
        ...{ region, start: startAt, end: endAt },
      });
      if (!(await sameBytes(place(before, entry), place(after, now), signal))) changed.push(path);
    }
  }
  const added = [...after.entries.keys()].filter((path) => !before.entries.has(path));
  return { added, changed, removed, keptCount: before.entries.size - changed.length - removed.length };
}

const mostNames = 8;

/** Lines for users: the numbers, and the first names. */
export function describeMembers({ added, changed, removed, keptCount }: MemberChanges): string[] {
  const names = (mark: string, paths: readonly string[]) => [
    ...paths.slice(0, mostNames).map((path) => `  ${mark} ${plain(Buffer.from(path || '.', 'latin1').toString())}`),
    ...(paths.length > mostNames ? [`  ${mark} … and ${paths.length - mostNames} more`] : []),
  ];
  return [
    `Members of the archive: ${added.length} added, ${changed.length} changed, ${removed.length} removed; ${keptCount} are the same, byte by byte`,
    ...names('+', added),
    ...names('~', changed),
    ...names('-', removed),
  ];
}
