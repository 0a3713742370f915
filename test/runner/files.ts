import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const root = dirname(dirname(import.meta.dirname));

const notOurs = ['.git', '.cache', 'node_modules', 'build'];

/** The text of every file of the project but pictures, by its path from the root. */
export function projectFiles(): ReadonlyMap<string, string> {
  const entries = globSync(['**/*', '.ci/*'], {
    cwd: root,
    withFileTypes: true,
    exclude: (entry) => notOurs.includes(entry.name),
  });
  const paths = entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.png'))
    .map((entry) => join(entry.parentPath, entry.name));
  return new Map(paths.sort().map((path) => [path.slice(root.length + 1), readFileSync(path, 'utf8')]));
}
