import { ImageBuilderError } from '../errors.ts';
import { ExecError, type ExecOptions, type ExecResult, exec } from '../exec.ts';

/**
 * The one door to QEMU's image tools. Callers name every format explicitly (`-f`, `-F`, `driver`), since a guessed
 * format lets the content of an image choose how it is read, and give absolute paths, which no tool takes for a URL.
 */

export interface QemuImgOptions extends Pick<ExecOptions, 'signal' | 'onLine' | 'input' | 'okExitCodes'> {
  readonly limits: QemuLimits;
}

/** What the kernel holds a tool to: an image made for it can cost no more than this. */
export interface QemuLimits {
  readonly cpuSeconds: number;
  /** Size beyond which no file can be written. */
  readonly fileSizeBytes: number;
}

/**
 * Memory that can be written, which is what the stacks of 64 threads and eight clusters of 2 MiB stay far below.
 * Address space is no measure: malloc reserves it by the number of CPUs.
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
 * Runs `qemu-img` or `qemu-io` as this process's user, without capabilities and without a way to gain any: they read
 * what strangers have made. Throws `disk.full` where no space was left, `tool.failed` with the tool's own words
 * where it failed or exceeded a limit, or the reason of `signal`.
 */
export async function runQemuTool(
  tool: 'qemu-img' | 'qemu-io',
  args: readonly string[],
  { limits, ...options }: QemuImgOptions,
): Promise<ExecResult> {
  const prlimit = [
    // The soft limit sends SIGXCPU, which says what happened; the hard one only kills.
    `--cpu=${limits.cpuSeconds}:${limits.cpuSeconds + 5}`,
    `--data=${memoryBytes}`,
    `--fsize=${limits.fileSizeBytes}`,
    '--core=0',
    '--',
    tool,
    ...args,
  ];
  try {
    return await exec('prlimit', prlimit, { ...options, user: null });
  } catch (thrown) {
    if (!(thrown instanceof ExecError)) throw thrown;
    throw explain(tool === 'qemu-img' ? `${tool} ${args[0] ?? ''}` : tool, thrown);
  }
}

function explain(what: string, failure: ExecError): ImageBuilderError {
  const options = { cause: failure, logTail: failure.logTail };
  if (/No space left on device/.test(failure.stderr + failure.stdout)) {
    return new ImageBuilderError(
      'disk.full',
      `${what} found no space left on the device that the worker works on`,
      options,
    );
  }
  return new ImageBuilderError('tool.failed', `${what} ${howItFailed(failure)}`, options);
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
