import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';

/** The folders of a unit: its charm, and the root of its machine. */

const repository = join(import.meta.dirname, '../../..');
const systemd = join(repository, 'packaging/systemd');

/**
 * Folder of all units of this process, one after the other. Node keeps the charm's code compiled, by the paths of its
 * files, so that hooks start faster.
 */
export const folder = mkdtempSync(join(tmpdir(), 'charm-unit-'));
export const charm = join(folder, 'charm');
export const root = join(folder, 'root');
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
packCharm();
let isTaken = false;

/** Makes the folders of a new unit. There is one at a time. */
export function takeFolders(): Disposable {
  assert.not.ok(isTaken, 'the unit before was disposed of');
  isTaken = true;
  packProgram();
  mkdirSync(root);
  return {
    [Symbol.dispose]() {
      rmSync(root, { recursive: true, force: true });
      isTaken = false;
    },
  };
}

/** Every file of the machine with its mode and its text. */
export function machineFiles(): Record<string, string> {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    entries.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(root.length), `${(statSync(path).mode & 0o7777).toString(8)} ${readFileSync(path, 'utf8')}`];
    }),
  );
}

/** The tree of a packed charm, without its program. */
function packCharm(): void {
  cpSync(join(repository, 'charm'), charm, { recursive: true });
  writeFileSync(join(charm, 'src/root.ts'), `export const root: string = ${JSON.stringify(root)};\n`);
  write('node/bin/node', `#!/bin/sh\nexec '${process.execPath}' "$@"\n`, 0o755);
}

function write(path: string, content: string, mode = 0o644): void {
  mkdirSync(join(charm, path, '..'), { recursive: true });
  writeFileSync(join(charm, path), content, { mode });
}

/** A small program in the charm. */
function packProgram(): void {
  rmSync(join(charm, 'program'), { recursive: true, force: true });
  const unitFile = (name: string) =>
    readFileSync(join(systemd, name), 'utf8').replaceAll('@PREFIX@', '/opt/imagebuilder/current');
  write('program/lib/imagebuilder/package.json', '{ "version": "1.2.3" }');
  write('program/lib/imagebuilder/bin/imagebuilder', '#!/bin/sh\n', 0o755);
  write('program/lib/imagebuilder/host-guest.conf', unitFile('host-guest.conf'));
  write('program/lib/imagebuilder/share-kernels', '#!/bin/sh\n', 0o755);
  write('program/lib/systemd/system/imagebuilder.service', unitFile('imagebuilder.service'));
  write('program/lib/sysusers.d/imagebuilder.conf', unitFile('sysusers.conf'));
  write('program/share/doc/imagebuilder/monitoring/dashboard.json', '{"title":"Image Builder"}');
}
