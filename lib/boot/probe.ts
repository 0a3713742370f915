import { join } from 'node:path';
import type { ScriptRunner } from '../guest/guest.ts';
import { ownLimitMs } from '../guest/script-run.ts';
import type { SealPart } from '../guest/seal.ts';
import { readShellScripts } from '../shell-scripts.ts';

const scripts = readShellScripts(join(import.meta.dirname, 'scripts'), ['snapshot', 'seal', 'probe']);

/** Records the state of everything that an image boots by, and says at the end whether it has changed. */
export const bootState: SealPart = { snapshot: scripts.snapshot, seal: scripts.seal };

/** True where the lines of the seal say that something has changed by which the image boots. */
export function hasBootChanged(sealed: string): boolean {
  return sealed.split('\n').includes('boot changed');
}

const MiB = 2 ** 20;
const largestBytes = 256 * MiB;
const mostInitrds = 3;

/**
 * Writes the files by which an opened image boots to `path`, for `readBootView`. `before` are the lines of the snapshot,
 * where only the initial ramdisks that were made since are wanted; null for all of them. Changes nothing.
 */
export async function collectBootFiles(session: ScriptRunner, path: string, before: string | null): Promise<void> {
  await session.run({
    name: 'boot-files',
    text: scripts.probe,
    arguments: [before === null ? 'all' : 'changed', String(largestBytes), String(mostInitrds)],
    files: { before: before ?? '' },
    outbox: { path, maximumBytes: mostInitrds * largestBytes + 256 * MiB },
    timeoutMs: ownLimitMs,
  });
}
