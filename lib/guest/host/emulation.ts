import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { ExecError } from '../../exec.ts';
import { findTool } from '../../tools.ts';
import { execInside } from './namespace.ts';

/**
 * Programs for another processor in a host guest: QEMU's emulators of single programs, which the kernel starts in the
 * user namespace of the guest's containers and nowhere else.
 */

const program = join(import.meta.dirname, '../scripts/emulate.pl');

interface Emulator {
  readonly name: string;
  /** The first bytes of programs, and the bits of them that count, in hexadecimal. */
  readonly magic: string;
  readonly mask: string;
}

const anyKind = 'ffffffffffffff00fffffffffffffffffeffffff';

/** By architecture, as Debian's qemu-user-static registers them: little-endian programs and libraries. */
const emulators: Readonly<Record<string, Emulator>> = {
  armhf: { name: 'qemu-arm-static', magic: '7f454c4601010100000000000000000002002800', mask: anyKind },
  arm64: { name: 'qemu-aarch64-static', magic: '7f454c460201010000000000000000000200b700', mask: anyKind },
  amd64: { name: 'qemu-x86_64-static', magic: '7f454c4602010100000000000000000002003e00', mask: anyKind },
};

/**
 * Makes the user namespace for containers whose root has the id `firstId`, inside the namespaces of process `processId`,
 * with which it ends. Resolves with the id there of the process that holds it. Throws `guest.unavailable` where the
 * emulator is missing, and where this kernel has no registrations of single namespaces.
 */
export async function startEmulation(processId: number, firstId: number | null, architecture: string): Promise<number> {
  const emulator = emulators[architecture];
  if (emulator === undefined) throw notEmulated(architecture, 'there is no emulator for it');
  if (firstId === null) throw notEmulated(architecture, 'there is no user namespace');
  const path = await findTool(emulator.name);
  if (path === null) throw notEmulated(architecture, 'apt-get install qemu-user-static');
  // F: the emulator is opened now, so that it need not be in the image. P: programs see the name that they are started
  // by. C: programs that gain rights by their mode do.
  const line = `:emulated:M::${escaped(emulator.magic)}:${escaped(emulator.mask)}:${path}:FPC`;
  try {
    const { stdout } = await execInside(processId, ['perl', program, String(firstId), line]);
    return Number.parseInt(stdout, 10);
  } catch (error) {
    throw error instanceof ExecError ? notEmulated(architecture, error.logTail.at(-1) ?? error.message, error) : error;
  }
}

/** The error of a worker that cannot run the programs of an image. */
export function notEmulated(architecture: string, reason: string, cause?: unknown): ImageBuilderError {
  const message = `the guest host cannot run programs for ${architecture}: ${reason}`;
  return new ImageBuilderError('guest.unavailable', message, { cause });
}

function escaped(hexadecimal: string): string {
  return hexadecimal.replaceAll(/../g, '\\x$&');
}
