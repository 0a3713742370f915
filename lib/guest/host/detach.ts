import { readFile } from 'node:fs/promises';
import { workerArchitecture } from '../../architecture.ts';
import { lineAfter } from '../../text.ts';
import { guestScripts } from '../script.ts';
import type { Attachment } from './attach.ts';
import { capabilitiesProgram } from './id-map.ts';
import { execInside } from './namespace.ts';

/** The file systems of an image after its scripts. */
export interface Detached {
  /** Errors that ext4 has counted on their devices, since they were made. */
  readonly errors: number;
  /** Where one is mounted that cannot be trimmed; undefined where there is none. */
  readonly untrimmed: string | undefined;
}

export interface DetachOptions {
  /** First process of the namespaces. */
  readonly processId: number;
  /** The second, since 1970, in which the image was opened. */
  readonly openedAt: number;
  /** Folders to unmount, together with all below them, once everything is flushed. */
  readonly unmount: readonly string[];
}

/** Flushes and trims the file systems of an image, and unmounts them. Throws ExecError. */
export async function detach(
  { stages, root, loops, firstId }: Attachment,
  { processId, openedAt, unmount }: DetachOptions,
): Promise<Detached> {
  const program = firstId === null ? '' : capabilitiesProgram;
  const words = [program, root, String(openedAt), workerArchitecture, ...stages, '--', ...unmount];
  const input = loops.map((loop) => `${errorsFile(loop)}\n`).join('');
  const { stdout } = await execInside(processId, ['sh', '-c', guestScripts.detach, 'detach', ...words], { input });
  return { errors: Number(lineAfter(stdout, 'errors: ')), untrimmed: lineAfter(stdout, 'untrimmed: ') };
}

/** Number of errors that ext4 has counted on these devices by now. */
export async function countErrors(loops: readonly string[]): Promise<number> {
  const counts = await Promise.all(loops.map((loop) => readFile(errorsFile(loop), 'utf8').catch(() => '0')));
  return counts.reduce((sum, count) => sum + Number.parseInt(count, 10), 0);
}

/** Other file systems than ext4 do not have it. */
function errorsFile(loop: string): string {
  return `/sys/fs/ext4/${loop}/errors_count`;
}
