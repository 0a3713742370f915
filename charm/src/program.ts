import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { exists, remove, writeLink } from './files.ts';
import { charmFolder, home, onMachine, programPrefix } from './places.ts';

/** The program that the charm brings, copied to a place of its own: an upgrade replaces the charm's folder while builds run. */

const source = join(charmFolder, 'program');
const node = join(charmFolder, 'node/bin/node');
const completeMark = '.complete';
/** The program's own place for Node.js, where its command looks first. */
const nodePath = 'lib/imagebuilder/node_modules/.bin/node';

export interface InstalledProgram {
  /** Name of its folder. */
  readonly digest: string;
  readonly version: string;
}

export const isProgramInstalled = (): boolean => exists(programPrefix);

/** Installs the program where it is not there yet. A hook that dies meanwhile leaves the program before in its place. */
export function installProgram(): InstalledProgram {
  const digest = digestOfProgram();
  const place = `${home}/${digest}`;
  if (!exists(`${place}/${completeMark}`)) {
    remove(place);
    const target = onMachine(place);
    cpSync(source, target, { recursive: true, verbatimSymlinks: true });
    mkdirSync(dirname(join(target, nodePath)), { recursive: true });
    copyFileSync(node, join(target, nodePath));
    writeFileSync(join(target, completeMark), '');
  }
  writeLink(programPrefix, digest);
  const text = readFileSync(onMachine(`${programPrefix}/lib/imagebuilder/package.json`), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  return { digest, version };
}

/** Deletes every program but this one. */
export function removeOtherPrograms(digest: string): void {
  const folders = readdirSync(onMachine(home)).filter((name) => /^[0-9a-f]{16}$/.test(name) && name !== digest);
  for (const name of folders) remove(`${home}/${name}`);
}

/** Of the names, modes and contents of all files, and of Node.js. */
function digestOfProgram(): string {
  const hash = createHash('sha256');
  const entries = readdirSync(source, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const path of entries.map((entry) => join(entry.parentPath, entry.name)).sort()) {
    const content = readFileSync(path);
    hash
      .update(JSON.stringify([path.slice(source.length), statSync(path).mode & 0o777, content.length]))
      .update(content);
  }
  hash.update(JSON.stringify([process.version, process.arch, statSync(node).size]));
  return hash.digest('hex').slice(0, 16);
}
