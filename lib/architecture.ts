import { machine } from 'node:os';
import { ImageBuilderError } from './errors.ts';

/** Processor architectures, by the names that Debian and dpkg have for them, such as `amd64`. */

/** Debian's names by Node's, where they differ. */
const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: 'i386', arm: 'armhf', ppc64: 'ppc64el' };

/** The architecture of this machine. */
export const workerArchitecture = names[process.arch] ?? process.arch;

/** Programs of these run on a machine of that architecture, too, where its processor and kernel can. */
const alsoRuns: Readonly<Record<string, readonly string[]>> = { amd64: ['i386', 'x32'], arm64: ['armhf'] };

/** By `e_machine` of an ELF header (elf.h); 32-bit Arm is either of armhf and armel. */
const machines: Readonly<Record<number, string>> = {
  3: 'i386',
  8: 'mips64el',
  21: 'ppc64el',
  22: 's390x',
  40: 'armhf',
  62: 'amd64',
  183: 'arm64',
  243: 'riscv64',
  258: 'loong64',
};

/** All architectures that have a name here. */
export const architectures: readonly string[] = [...Object.values(machines), 'armel', 'x32'];

/** Bytes of a program that `architectureOf` needs. */
export const programHeadBytes = 20;

/** The architecture of a program by the first bytes of its file; null for scripts, and for processors of no name here. */
export function architectureOf(head: Buffer): string | null {
  if (head.length < programHeadBytes || head.toString('latin1', 0, 4) !== '\x7fELF') return null;
  // EI_CLASS: 1 for 32 bits. EI_DATA: 2 for the highest byte first.
  const name = machines[head[5] === 2 ? head.readUInt16BE(18) : head.readUInt16LE(18)] ?? null;
  return name === 'amd64' && head[4] === 1 ? 'x32' : name;
}

/** Whether a machine of the architecture `worker` runs programs of `architecture`. */
export function runsOn(worker: string, architecture: string): boolean {
  return architecture === worker || alsoRuns[worker]?.includes(architecture) === true;
}

/** The error of an image whose programs do not run on this worker. `architecture` is theirs, null where it is not known. */
export function foreignImage(architecture: string | null, cause?: unknown): ImageBuilderError {
  const theirs = architecture === null ? '' : `: its programs are for ${architecture}`;
  return new ImageBuilderError(
    'image.unsupported',
    `the image is for another processor than this worker’s, which is ${machine()}${theirs}`,
    { cause },
  );
}
