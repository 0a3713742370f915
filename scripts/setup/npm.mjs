import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.mjs';

/** Keeps node_modules in step with package-lock.json. Plain JavaScript, without dependencies, for any Node from 18 on. */

/** Where the Node that everything runs on is: the npm package `node`, so that the machine's own version is no matter. */
export const nodeBinary = join('node_modules', 'node', 'bin', 'node');

/** True when node_modules under `root` holds what package-lock.json names: npm's own record there says the same. */
export function isInstalled(root) {
  if (!existsSync(join(root, nodeBinary))) return false;
  try {
    const packages = (...path) => JSON.parse(readFileSync(join(root, ...path), 'utf8')).packages;
    const wanted = packages('package-lock.json');
    const installed = packages('node_modules', '.package-lock.json');
    const same = (name) =>
      wanted[name]?.version === installed[name].version && wanted[name]?.integrity === installed[name].integrity;
    return (
      Object.keys(installed).every(same) &&
      Object.keys(wanted).every((name) => name === '' || wanted[name].optional === true || name in installed)
    );
  } catch {
    return false;
  }
}

/** Installs the npm packages where they are missing or old. Returns false, having said why, where that failed. */
export async function ensureNpmPackages(root, say) {
  if (isInstalled(root)) return true;
  say('Installing npm packages (npm ci; about half a minute)');
  const npm = process.env.npm_execpath;
  const [file, prefix] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  const result = await run(file, [...prefix, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root });
  if (!result.ok) say(`npm ci failed:\n${result.output.trim()}`);
  return result.ok;
}
