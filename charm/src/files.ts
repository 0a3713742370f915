import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { onMachine } from './places.ts';

/** Files of the machine. Each is written whole or not at all, and only where it is not there already. */

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The user that hooks run as. */
export const hookUser: Owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

export const exists = (path: string): boolean => existsSync(onMachine(path));

/** Null where there is no such file. */
export const readText = (path: string): string | null => (exists(path) ? readFileSync(onMachine(path), 'utf8') : null);

export function writeText(path: string, text: string, mode: number, owner: Owner = hookUser): void {
  const target = onMachine(path);
  if (existsSync(target)) {
    const { mode: found, uid, gid } = statSync(target);
    const same = (found & 0o7777) === mode && uid === owner.uid && gid === owner.gid;
    if (same && readFileSync(target, 'utf8') === text) return;
  }
  mkdirSync(dirname(target), { recursive: true });
  const temporary = `${target}.new`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' });
  chownSync(temporary, owner.uid, owner.gid);
  chmodSync(temporary, mode);
  renameSync(temporary, target);
}

export function makeFolder(path: string, mode: number, owner: Owner = hookUser): void {
  const target = onMachine(path);
  if (existsSync(target)) {
    const { mode: found, uid, gid } = statSync(target);
    if ((found & 0o7777) === mode && uid === owner.uid && gid === owner.gid) return;
  }
  mkdirSync(target, { recursive: true, mode: 0o700 });
  chownSync(target, owner.uid, owner.gid);
  chmodSync(target, mode);
}

/** Makes a symbolic link; one that is there is exchanged in one step. */
export function writeLink(path: string, destination: string): void {
  const target = onMachine(path);
  if (linkDestination(path) === destination) return;
  mkdirSync(dirname(target), { recursive: true });
  const temporary = `${target}.new`;
  rmSync(temporary, { force: true });
  symlinkSync(destination, temporary);
  renameSync(temporary, target);
}

/** Null where there is no symbolic link. */
function linkDestination(path: string): string | null {
  try {
    return readlinkSync(onMachine(path));
  } catch {
    return null;
  }
}

/** Deletes a file, a link, or a folder with all that is in it. */
export function remove(path: string): void {
  rmSync(onMachine(path), { recursive: true, force: true });
}
