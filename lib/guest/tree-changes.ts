import { readFile, rm, writeFile } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';
import { ExecError } from '../exec.ts';
import { lineAfter } from '../text.ts';
import type { ScriptRunner, TreeChanges } from './guest.ts';
import { guestScripts } from './script.ts';

/** The changes of a file tree whose inodes all had the same time of their last change when the image was opened. */

/** As scripts/list-changes.sh has them, without `./` at their beginning; one character for each byte. */
export interface TreeListing {
  /** Folders and files over which something is mounted. */
  readonly covered: readonly string[];
  readonly changed: readonly string[];
  readonly unchanged: readonly string[];
}

/** Most bytes of the list: a million names of a usual length. */
const maximumListBytes = 128 * 2 ** 20;

/**
 * Writes the changes of an image to the files that `changes` names, by the image's own find and tar: both guests see the
 * same, and a vm of another architecture has no other tar. Throws `image.unsupported` for an image without these,
 * `guest.limit` for more changes than are allowed, and what `run` throws. The image chooses the content.
 */
export async function saveTreeChanges(
  run: ScriptRunner['run'],
  changes: TreeChanges,
  timeoutMs: number,
): Promise<void> {
  const listPath = `${changes.path}.list`;
  try {
    await run({
      ...{ name: 'list-changes', text: guestScripts['list-changes'], timeoutMs },
      arguments: [String(changes.untouchedSeconds + 1)],
      outbox: { path: listPath, maximumBytes: maximumListBytes },
    }).catch((error: unknown) => Promise.reject(listError(error)));
    const { changed, gone } = compareTree(parseTreeListing(await readFile(listPath)), changes.members);
    await writeFile(changes.gonePath, asList(gone), { flag: 'wx', mode: 0o600 });
    await run({
      ...{ name: 'changes', text: guestScripts['pack-changes'], timeoutMs },
      files: { paths: asList(changed.map((path) => (path === '' ? '.' : `./${path}`))) },
      outbox: { path: changes.path, maximumBytes: changes.maximumBytes },
    });
  } finally {
    await rm(listPath, { force: true });
  }
}

function listError(error: unknown): unknown {
  const reason = error instanceof ExecError ? lineAfter(error.stderr, 'unsupported: ') : undefined;
  return reason === undefined ? error : new ImageBuilderError('image.unsupported', reason, { cause: error });
}

/** Mounts in an image: the guests make some twenty, and it can make none. */
const mostMounts = 100;

/** Parses what scripts/list-changes.sh has written. Throws `guest.failed` for anything else. */
export function parseTreeListing(output: Buffer): TreeListing {
  const [covered, changed, unchanged]: string[][] = [[], [], []];
  for (let at = 0; at < output.length; ) {
    const end = output.indexOf(0, at);
    if (end < 0) throw noListing();
    const line = output.toString('latin1', at, end);
    const path = line.slice(2);
    if (line.startsWith('m /')) covered?.push(path.slice(1));
    else if (line.startsWith('c .')) changed?.push(path.slice(2));
    else if (line.startsWith('u .')) unchanged?.push(path.slice(2));
    else throw noListing();
    at = end + 1;
    if ((covered?.length ?? 0) > mostMounts) throw noListing();
  }
  return { covered: covered ?? [], changed: changed ?? [], unchanged: unchanged ?? [] };
}

function noListing(): ImageBuilderError {
  return new ImageBuilderError('guest.failed', 'the image does not list its files as it should');
}

/** Folders that belong to the running system. */
const running = ['dev', 'proc', 'run', 'sys', 'tmp'];

/**
 * Compares the files with those that there were. `changed` is in the order of the base, and new files follow in the order
 * of their bytes; `gone` are the names that are no more.
 */
export function compareTree(
  listing: TreeListing,
  members: readonly string[],
): { readonly changed: readonly string[]; readonly gone: readonly string[] } {
  const covers = [...running, ...listing.covered];
  const isSeen = (path: string) => !covers.some((cover) => path === cover || path.startsWith(`${cover}/`));
  const changed = new Set(listing.changed.filter(isSeen));
  const there = new Set([...listing.unchanged, ...listing.changed]);
  const known = new Set(members);
  return {
    changed: [
      ...members.filter((path) => changed.has(path)),
      ...[...changed].filter((path) => !known.has(path)).sort((one, other) => (one < other ? -1 : 1)),
    ],
    gone: members.filter((path) => isSeen(path) && !there.has(path)),
  };
}

function asList(paths: readonly string[]): Buffer {
  return Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1');
}
