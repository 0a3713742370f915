import { lstat, mkdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { assemble } from './attach.ts';
import { mappedIds } from './id-map.ts';
import { execContainer } from './namespace.ts';

/**
 * Tests whether the installed crun confines the processes in its containers, by running a few programs of the worker in
 * one.
 */

/** The folders of the worker that hold its programs; those that are links on merged systems become links. */
const programFolders = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'usr'];

/**
 * Prints `held` at its end; $1 is a file of the worker that must be invisible, $2 the map of ids, if there should be
 * one.
 */
const script = `
say() { echo "$1" >&2; exit 1; }
if [ -e "$1" ] || [ -e "/proc/1/root$1" ]; then say 'the files of the worker are seen'; fi
while read -r name value rest; do
  [ "$name" != Seccomp: ] || [ "$value" = 2 ] || say 'system calls are not filtered'
done </proc/self/status
[ ! -e /proc/2 ] || say 'other processes are seen'
read -r inside outside count </proc/self/uid_map
[ -z "$2" ] || [ "$inside $outside $count" = "$2" ] || say 'ids are not mapped'
! unshare --mount true 2>/dev/null || say 'a mount namespace can be made'
echo held
`;

/**
 * Prepares the namespaces of process `processId`, with files in `directory`, which the caller removes, for `runProbe`.
 * Returns the reason why no user namespace there can have `firstId` as its root; null where one can.
 */
export async function prepareProbe(processId: number, directory: string, firstId: number | null) {
  const root = join(directory, 'root');
  for (const folder of [root, join(directory, 'containers'), join(directory, 'dev')]) await mkdir(folder);
  for (const name of ['dev', 'proc', 'sys']) await mkdir(join(root, name));
  for (const name of programFolders) {
    const found = await lstat(`/${name}`).catch(() => null);
    if (found?.isSymbolicLink() === true) await symlink(await readlink(`/${name}`), join(root, name));
    else if (found !== null) await mkdir(join(root, name));
  }
  return (await assemble(processId, { directory, firstId, emulated: null }, '')).unmapped;
}

/** Runs the programs. Throws with the reason where crun cannot start a container, or does not confine it. */
export async function runProbe(processId: number, directory: string, firstId: number | null): Promise<void> {
  const canary = join(directory, 'canary');
  await writeFile(canary, '');
  const folders: Record<string, string> = {};
  for (const name of programFolders) {
    if ((await lstat(join(directory, 'root', name)).catch(() => null))?.isDirectory() === true) {
      folders[`/${name}`] = `/${name}`;
    }
  }
  const map = firstId === null ? '' : `0 ${firstId} ${mappedIds}`;
  const { stdout } = await execContainer(
    { processId, directory: join(directory, 'containers'), name: firstId === null ? 'plain' : 'mapped', doors: [] },
    {
      ...{ folders, devices: [], hostname: 'localhost', dataBytes: null, firstId },
      command: ['/bin/sh', '-c', script, 'probe', canary, map],
      environment: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    },
    { onStatusLine: () => {} },
  );
  if (stdout !== 'held\n') throw new Error('it did not run what it should');
}
