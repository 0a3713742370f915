import { exec } from '#lib/exec.ts';

/**
 * Packs the files of a folder as charmcraft does: a zip file, deflated, without entries for folders, with modes, and with
 * copies for symbolic links. The same files with the same times give the same bytes. Throws where zip is not installed.
 */
export async function zipFolder(folder: string, path: string, level: number): Promise<void> {
  const { stdout } = await exec('find', ['-L', '.', '-type', 'f', '-printf', '%P\\n'], { cwd: folder });
  const names = stdout.split('\n').filter((name) => name !== '');
  const options = [`-${level}`, '--quiet', '-X', '-nw', '-@'];
  // Times stand in it as those of the time zone.
  await exec('zip', [...options, path], { cwd: folder, input: `${names.toSorted().join('\n')}\n`, env: { TZ: 'UTC' } });
}
