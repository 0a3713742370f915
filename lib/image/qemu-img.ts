import { ImageBuilderError, saysNoSpace } from '../errors.ts';
import { ExecError, type ExecOptions, type ExecResult, exec } from '../exec.ts';
import type { IdRange } from '../privileges.ts';
import { type ImageFile, lendToNewUser } from './lent-images.ts';

/**
 * The one way to call QEMU's image tools. Callers name every format explicitly (`-f`, `-F`, `driver`), since with a
 * guessed format the content of an image would choose how it is read. They name every file by its name in `QemuTools`.
 */

/** QEMU's image tools as one user, and the files that it may use. Disposing ends the rest of its processes. */
export interface QemuTools<Name extends string> extends AsyncDisposable {
  /** The tools know each file by this name only: absolute, and without a character that QEMU takes for syntax. */
  readonly names: Readonly<Record<Name, string>>;
  /**
   * Runs `qemu-img` or `qemu-io`. Throws `disk.full` where no space was left, `tool.failed` with the tool's own words
   * where it failed or exceeded a limit, or the reason of `signal`.
   */
  run(tool: 'qemu-img' | 'qemu-io', args: readonly string[], options: QemuRunOptions): Promise<ExecResult>;
}

export interface QemuRunOptions extends Pick<ExecOptions, 'signal' | 'onLine' | 'input' | 'okExitCodes'> {
  readonly limits: QemuLimits;
}

/** Limits that the kernel enforces on a tool: an image made to be costly can cost no more than this. */
export interface QemuLimits {
  readonly cpuSeconds: number;
  /** Size beyond which no file can be written. */
  readonly fileSizeBytes: number;
}

/**
 * Limit of writable memory, far above the stacks of 64 threads and eight clusters of 2 MiB. Address space is no
 * measure: malloc reserves it by the number of CPUs.
 */
const memoryBytes = 2 * 2 ** 30;

/** Limits for working on a disk of this size: compressing runs at several MiB per second on the slowest machine. */
export function limitsFor(sizeBytes: number): QemuLimits {
  return {
    cpuSeconds: 120 + Math.ceil(sizeBytes / 2 ** 22),
    fileSizeBytes: Math.ceil(sizeBytes * 1.125) + 256 * 2 ** 20,
  };
}

/**
 * Opens the files of one use of the tools. Where this process is root, the tools of each use have a user of their own,
 * without any right but on those files: they read files that strangers have made. One use is one step of a build (such
 * as packing), whose runs work on the same output one after another: a user for each run would protect nothing more.
 */
export async function openQemuTools<Name extends string>(
  files: Readonly<Record<Name, ImageFile>>,
  unprivilegedIds: IdRange,
): Promise<QemuTools<Name>> {
  const lent = await lendToNewUser(files, unprivilegedIds);
  const { names, descriptors, user } = lent;
  // Callers read these errors: neither the paths of the worker nor names by descriptors say anything to them.
  const byRole = (text: string) =>
    Object.entries<string>(names).reduce(
      (renamed, [role, name]) => renamed.replaceAll(name, role).replaceAll(files[role as Name].path, role),
      text,
    );
  return {
    names,
    async run(tool, args, { limits, ...options }) {
      const command = [...limitArguments(limits), '--', tool, ...args];
      try {
        return await exec('prlimit', command, { ...options, user, inherited: descriptors });
      } catch (thrown) {
        if (!(thrown instanceof ExecError)) throw thrown;
        throw explain(tool === 'qemu-img' ? `${tool} ${args[0] ?? ''}` : tool, thrown, byRole);
      }
    },
    [Symbol.asyncDispose]: () => lent[Symbol.asyncDispose](),
  };
}

function limitArguments({ cpuSeconds, fileSizeBytes }: QemuLimits): string[] {
  return [
    // The soft limit sends SIGXCPU, which says what happened; the hard one only kills.
    `--cpu=${cpuSeconds}:${cpuSeconds + 5}`,
    `--data=${memoryBytes}`,
    `--fsize=${fileSizeBytes}`,
    '--core=0',
  ];
}

/** `byRole` replaces the names and paths of files by their role, such as `overlay`. */
function explain(what: string, failure: ExecError, byRole: (text: string) => string): ImageBuilderError {
  const options = { cause: failure, logTail: failure.logTail.map(byRole) };
  if (saysNoSpace(failure.stderr + failure.stdout)) {
    return new ImageBuilderError(
      'disk.full',
      `${what} found no space left on the device that the worker works on`,
      options,
    );
  }
  return new ImageBuilderError('tool.failed', `${what} ${byRole(howItFailed(failure))}`, options);
}

function howItFailed({ exitCode, signalName, stderr, logTail }: ExecError): string {
  if (exitCode === 127 || (exitCode === undefined && signalName === undefined)) {
    return 'could not be started: it needs the Debian packages qemu-utils and util-linux';
  }
  if (signalName === 'SIGXCPU') return 'used up its CPU time';
  if (signalName !== undefined) return `was killed by ${signalName}`;
  if (/File too large/.test(stderr)) return 'wrote more than the image may become';
  return `failed: ${logTail.at(-1) ?? `exit code ${exitCode}`}`;
}
