import { ImageBuilderError } from '../errors.ts';
import { ExecError } from '../exec.ts';
import { lineAfter, plain } from '../text.ts';
import { hiddenError, renderHiddenSearch } from './closed-mounts.ts';
import { maximumFindingsBytes } from './findings.ts';
import type { GuestScript, ScriptRunner } from './guest.ts';
import type { ClosedMount } from './plan-mounts.ts';
import { guestScripts } from './script.ts';
import { ownLimitMs } from './script-run.ts';

/** Files of an image that only one kind of image has, and that are put back: shell text behind the scripts here. */
export interface SealPart {
  /** Prints further lines. */
  readonly snapshot: string;
  /** Acts on those of them that are new. Its lines `warning: TEXT` become warnings of the result. */
  readonly seal: string;
}

/** Warnings for the result among the lines that `sealImage` resolves with. The image has a say in them. */
export function sealWarnings(sealed: string): string[] {
  const warnings = sealed.split('\n').filter((line) => line.startsWith(warningMark));
  return warnings.slice(0, maximumWarnings).map((line) => plain(line.slice(warningMark.length, maximumCharacters)));
}

const warningMark = 'warning: ';
const maximumWarnings = 20;
const maximumCharacters = 500;

/** The state of an image, before anything was changed, as far as `sealImage` restores it. Opaque. */
export interface Pristine {
  readonly lines: string;
  readonly snapshot: string;
  readonly seal: string;
}

/**
 * Records the state of a freshly opened image. Changes nothing. Throws `image.unsupported` where that state is larger
 * than the kept output of a script: a file missing from the record would count as new, and be removed.
 */
export async function beforeChange(session: ScriptRunner, parts: readonly SealPart[]): Promise<Pristine> {
  const { snapshot } = pristineOf('', parts);
  const { stdout } = await session.run({ name: 'snapshot', text: snapshot, timeoutMs: ownLimitMs });
  if (!stdout.startsWith('begin\n')) {
    throw new ImageBuilderError('image.unsupported', 'the image has too many files in /var/log or in its caches');
  }
  return pristineOf(stdout, parts);
}

/** The state of an image that an earlier build has recorded, from its lines. */
export function pristineOf(lines: string, parts: readonly SealPart[]): Pristine {
  const snapshots = [guestScripts.snapshot, guestScripts.identities, ...parts.map((part) => part.snapshot), 'exit 0\n'];
  const seals = [guestScripts.seal, guestScripts['first-boot'], ...parts.map((part) => part.seal)];
  return { lines, snapshot: snapshots.join(''), seal: seals.join('') };
}

/** A look at the finished image. */
export interface FinalLook {
  /** Path of a new file of the worker for its findings. */
  readonly path: string;
  /** The folders that hold all changes: the open mount points of the image, or `shownChanges` of layers. */
  readonly folders: readonly string[];
}

/** How an image is sealed that is closed next. */
export interface SealOptions {
  /** The mount points below which nothing may have changed. Default: none. */
  readonly closed?: readonly ClosedMount[];
  /** As for `GuestScript`. */
  readonly isLast?: boolean;
}

/**
 * Leaves the image as pristine as its base was, apart from the requested changes. Identity that belongs to one machine
 * (machine-id, host keys, names of initiators, random seeds), logs, caches and backups of apt, dpkg and debconf, and the files of the parts, are put back or removed where they are new; the image's first boot
 * makes what no program makes anew. Resolves with the lines that the parts print. Throws `guest.failed` where a part
 * refuses the image, and as `assertHiddenUntouched` does. With `look`, it lists the files that the build has touched and
 * the copyright files, for `readFindings`, and prints the lines of `readOwnFiles`.
 */
export async function sealImage(
  session: ScriptRunner,
  { lines, snapshot, seal }: Pristine,
  look: FinalLook | null = null,
  { closed = [], isLast = false }: SealOptions = {},
): Promise<string> {
  const looking: Partial<GuestScript> =
    look === null ? {} : { arguments: look.folders, outbox: { path: look.path, maximumBytes: maximumFindingsBytes } };
  const ending = look === null ? [] : [guestScripts.touched, guestScripts['own-files'], guestScripts.copyright];
  try {
    const { stdout } = await session.run({
      name: 'seal',
      text: [renderHiddenSearch(closed), seal, ...ending].join(''),
      isLast,
      timeoutMs: ownLimitMs,
      files: { snapshot, before: lines },
      ...looking,
    });
    return stdout;
  } catch (error) {
    const reason = error instanceof ExecError ? lineAfter(error.stderr, 'unsealed: ') : undefined;
    if (reason === undefined) throw hiddenError(error, closed) ?? error;
    throw new ImageBuilderError('guest.failed', reason, { cause: error });
  }
}
