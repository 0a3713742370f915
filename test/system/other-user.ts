import { chmod, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';

/** Another user of this machine, who tries to read, to lock and to take files of Image Builder. */

export const nobody = 65_534;
/** Words that, before a command, run it as that user. */
export const asNobody = [
  ...['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', '--no-new-privs'],
  ...['--bounding-set=-all', '--'],
];
const attack = `
while IFS= read -r path; do
  if [ -d "$path" ]; then
    ls "$path" >/dev/null 2>&1 && echo "listed $path"
    touch "$path/planted" 2>/dev/null && echo "wrote into $path"
  else
    head -c 1 "$path" >/dev/null 2>&1 && echo "read $path"
    (: >>"$path") 2>/dev/null && echo "may write $path"
  fi
  # 66: it cannot be opened.
  flock --nonblock "$path" true 2>/dev/null; [ $? = 66 ] || echo "locked $path"
  mv -T "$path" "$path.taken" 2>/dev/null && echo "took $path"
done
:`;

/** Successful attacks of the other user on `directories` and everything below, one line each. */
export async function attackFolders(directories: readonly string[]): Promise<string[]> {
  const paths = (await Promise.all(directories.map(listTree))).flat();
  const { stdout } = await exec('env', [...asNobody, 'sh', '-c', attack], { input: `${paths.join('\n')}\n` });
  return stdout.split('\n').filter((line) => line !== '');
}

/** The path itself and all below it; files that vanish meanwhile are left out. */
async function listTree(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  const below = entries.map((entry) =>
    entry.isDirectory() ? listTree(join(path, entry.name)) : [join(path, entry.name)],
  );
  return [path, ...(await Promise.all(below)).flat()];
}

/** Gives the other user access up to `directory`, which tests make for themselves alone. */
export async function admitToFolder(directory: string): Promise<void> {
  await chmod(directory, 0o755);
}
