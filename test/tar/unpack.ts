import { mkdir } from 'node:fs/promises';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import type { RootArchive } from '#lib/tar/root-archive.ts';
import type { RootEntry } from '#lib/tar/root-entry.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';
import { readFileAsRoot } from './read.ts';

/** The programs by which finished archives are unpacked, as root. */

const everything = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--acls'];

const unpackers = {
  tar: ['tar', '--same-permissions', ...everything, '--extract', '--file'],
  busybox: ['busybox', 'tar', '-x', '-p', '-f'],
} as const;

/** A line for each file: all that is kept of it but its time. */
function describe({ entries }: RootArchive, withAttributes: boolean): string[] {
  const lines = [...entries].map(([path, entry]) => {
    const file = entry.type === 'link' ? (entries.get(entry.target) ?? entry) : entry;
    const { type, mode, uid, gid, sizeBytes, target, attributes, major, minor }: RootEntry = file;
    const values = [...(withAttributes ? attributes : [])].map(
      ([keyword, value]) => `${keyword} ${value.toString('hex')}`,
    );
    // Linux has none for symbolic links.
    const shownMode = type === 'symlink' ? '' : mode.toString(8);
    return [path, type, shownMode, uid, gid, sizeBytes, target, major, minor, ...values.sort()].join(' ');
  });
  return lines.sort();
}

/**
 * Unpacks a plain archive by a program, as root: owners, modes, devices and links have to be those that the archive says, and
 * capabilities, ACLs and attributes, too, where the program is GNU tar. Resolves with a line for each file.
 */
export async function assertUnpacks(path: string, program: keyof typeof unpackers): Promise<readonly string[]> {
  await using folder = await temporaryFolder();
  const [tree, again] = [folder.file('tree'), folder.file('again')];
  await mkdir(tree);
  const [command, ...args] = unpackers[program];
  await exec(command, [...args, path], { cwd: tree });
  const before = await readFileAsRoot(path);
  const inside = before.prefix.includes('system/') ? `${tree}/system` : tree;
  const options = ['--format=pax', ...everything, '--directory', inside];
  await exec('tar', ['--create', '--file', again, ...options, '.']);
  const isComplete = program === 'tar';
  const [wanted, found] = [describe(before, isComplete), describe(await readFileAsRoot(again), isComplete)];
  // The root of an archive that has no member for it.
  const made = found.filter((line) => before.entries.has('') || !line.startsWith(' '));
  assert.equal([...new Set(made).difference(new Set(wanted))], [], `${program} has unpacked something else`);
  assert.equal([...new Set(wanted).difference(new Set(made))], [], `${program} has not unpacked all`);
  return found;
}
