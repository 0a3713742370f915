import { ImageBuilderError } from '../errors.ts';
import { ExecError } from '../exec.ts';
import { lineAfter } from '../text.ts';
import type { ScriptRunner } from './guest.ts';
import { guestScripts } from './script.ts';
import { ownLimitMs } from './script-run.ts';

/** The state of an image, before anything was changed, as far as `sealImage` restores it. Opaque. */
export interface Pristine {
  readonly lines: string;
}

/**
 * Records the state of a freshly opened image. Changes nothing. Throws `image.unsupported` where that state is larger
 * than the kept output of a script: a file missing from the record would count as new, and be removed.
 */
export async function beforeChange(session: ScriptRunner): Promise<Pristine> {
  const { stdout } = await session.run({ name: 'snapshot', text: guestScripts.snapshot, timeoutMs: ownLimitMs });
  if (!stdout.startsWith('begin\n')) {
    throw new ImageBuilderError('image.unsupported', 'the image has too many files in /var/log or in its caches');
  }
  return { lines: stdout };
}

/**
 * Leaves the image as pristine as its base was, apart from the requested changes; the last script before `close`.
 * Machine identity (machine-id, ssh host keys, random seeds), logs, caches and backups of apt, dpkg and debconf are put
 * back or removed where they are new, and GRUB's configuration names the root file system as it always has. Throws
 * `guest.failed` where that configuration names a device which exists only during the build.
 */
export async function sealImage(session: ScriptRunner, pristine: Pristine): Promise<void> {
  try {
    await session.run({
      name: 'seal',
      text: guestScripts.seal,
      timeoutMs: ownLimitMs,
      files: { snapshot: guestScripts.snapshot, before: pristine.lines },
    });
  } catch (error) {
    const device = error instanceof ExecError ? lineAfter(error.stderr, 'device: ') : undefined;
    if (device === undefined) throw error;
    throw new ImageBuilderError('guest.failed', device, { cause: error });
  }
}
