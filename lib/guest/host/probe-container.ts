import { lstat, mkdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execContainer } from './namespace.ts';

/** Whether the installed crun holds what runs in its containers, by running a few programs of the worker in one. */

/** The folders of the worker that its programs lie in; those that are links on merged systems become links. */
const programFolders = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'usr'];

/** Says `held` in the end; $1 is a file of the worker that is not to be seen. */
const script = `
say() { echo "$1" >&2; exit 1; }
[ ! -e "$1" ] && [ ! -e "/proc/1/root$1" ] || say 'the files of the worker are seen'
while read -r name value rest; do
  [ "$name" != Seccomp: ] || [ "$value" = 2 ] || say 'system calls are not filtered'
done </proc/self/status
[ ! -e /proc/2 ] || say 'other processes are seen'
! unshare --mount true 2>/dev/null || say 'a mount namespace can be made'
echo held
`;

/**
 * Runs it in the namespaces of process `processId`, with files in `directory`, which the caller removes. Throws with
 * the reason where crun cannot start a container, or does not hold it.
 */
export async function tryContainer(processId: number, directory: string): Promise<void> {
  const root = join(directory, 'root');
  const canary = join(directory, 'canary');
  const containers = join(directory, 'containers');
  for (const folder of [root, containers]) await mkdir(folder);
  for (const name of ['dev', 'proc', 'sys']) await mkdir(join(root, name));
  await writeFile(canary, '');
  const folders: Record<string, string> = {};
  for (const name of programFolders) {
    const path = `/${name}`;
    const found = await lstat(path).catch(() => null);
    if (found?.isSymbolicLink() === true) await symlink(await readlink(path), join(root, name));
    else if (found !== null) folders[path] = path;
  }
  for (const name of Object.keys(folders)) await mkdir(join(root, name));
  const { stdout } = await execContainer(
    { processId, directory: containers, name: 'probe', doors: [] },
    {
      ...{ root, folders, devices: [], deviceLinks: null, dataBytes: null },
      command: ['/bin/sh', '-c', script, 'probe', canary],
      environment: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    },
    { onStatusLine: () => {} },
  );
  if (stdout !== 'held\n') throw new Error('it did not run what it should');
}
