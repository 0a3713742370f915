import { existsSync, lstatSync, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.mjs';

/** Keeps node_modules in step with package-lock.json. Plain JavaScript, without dependencies, for any Node from 18 on. */

/** The npm package whose Node everything runs on. The lock file holds its digest, and no script of it runs. */
const nodePackage = `node_modules/node-${process.platform}-${process.arch}`;
const packagedNode = 'node_modules/.bin/node';
const leastNode = [22, 18];

/**
 * Path of the Node that everything runs on, so that the machine's own version does not matter. Where there is no
 * package for this platform it is the machine's own, if that is new enough, otherwise null.
 */
export function nodeBinary(root) {
  const packaged = join(root, packagedNode);
  if (existsSync(packaged)) return packaged;
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > leastNode[0] || (major === leastNode[0] && minor >= leastNode[1]) ? process.execPath : null;
}

/**
 * True when node_modules under `root` holds what package-lock.json names: npm's own record there says the same. Without
 * `development`, it may lack the packages that only the work on the code needs, as after `npm ci --omit=dev`.
 */
export function isInstalled(root, { development = true } = {}) {
  try {
    const packages = (...path) => JSON.parse(readFileSync(join(root, ...path), 'utf8')).packages;
    const wanted = packages('package-lock.json');
    const installed = packages('node_modules', '.package-lock.json');
    // npm goes on without an optional package that it cannot download. The Node for this platform is indispensable.
    if (nodePackage in wanted && !(nodePackage in installed && existsSync(join(root, packagedNode)))) return false;
    const same = (name) =>
      wanted[name]?.version === installed[name].version && wanted[name]?.integrity === installed[name].integrity;
    const mayLack = ({ optional, dev }) => optional === true || (dev === true && !development);
    return (
      Object.keys(installed).every(same) &&
      Object.keys(wanted).every((name) => name === '' || name in installed || mayLack(wanted[name]))
    );
  } catch {
    return false;
  }
}

/** Whether an entry file needs packages that only the work on the code needs, such as the linters. */
export function needsDevelopmentPackages(entry) {
  return ![
    'bin/imagebuilder.ts',
    'packaging/main.ts',
    'packaging/charm/main.ts',
    'quickstart/main.ts',
    'bench/main.ts',
    'soak/main.ts',
  ].includes(entry);
}

/**
 * Installs the npm packages where they are missing or old. Where that fails, it prints why and returns false. npm holds
 * `lock`, an open file, while it runs.
 */
export async function ensureNpmPackages(root, say, { development = true, lock, signal } = {}) {
  if (isInstalled(root, { development })) return true;
  say('Installing npm packages (npm ci; about half a minute)');
  // npm empties the folder that a link leads to, which other checkouts may use, before it replaces the link.
  const folder = join(root, 'node_modules');
  if (lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink()) unlinkSync(folder);
  const npm = process.env.npm_execpath;
  const [file, prefix] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  // Whatever NODE_ENV and npm's own settings leave out.
  const kinds = ['--include=optional', '--include=dev'];
  const options = ['--ignore-scripts', ...kinds, '--no-audit', '--no-fund', '--loglevel=error'];
  // Other users run the Node that it installs, too.
  const umask = process.umask(0o022);
  const result = await run(file, [...prefix, 'ci', ...options], { cwd: root, lock, signal });
  process.umask(umask);
  if (signal?.aborted) return false;
  if (!result.ok) say(`npm ci failed:\n${result.output.trim()}`);
  else if (!isInstalled(root)) say('npm ci did not fetch everything that package-lock.json names. Please try again.');
  return isInstalled(root);
}
