import { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { saysNoSpace } from '../errors.ts';
import { ExecError, exec } from '../exec.ts';
import { type IdRange, newUnprivilegedUser } from '../privileges.ts';
import { endProcesses } from '../unprivileged.ts';
import { corrupt } from './refusals.ts';

/** Node has no xz. Blocks of SquashFS are whole .xz files, and one run of xz unpacks many of them end to end. */

/** Users of the tools, where this process is root, and the end of all work. */
export interface ToolLimits {
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** Blocks of SquashFS have at most 1 MiB, and a dictionary of no more. */
const memoryBytes = 64 * 2 ** 20;
const footerBytes = 12;

/**
 * Unpacks .xz files into one piece of memory, of as many bytes as their indexes add up to, at most `maximumBytes` each;
 * returns the blocks. Throws `image.corrupt`, or the reason of the signal.
 */
export async function unpackXz(
  blocks: readonly Buffer[],
  maximumBytes: number,
  { unprivilegedIds, signal }: ToolLimits,
): Promise<Buffer[]> {
  const sizes = blocks.map((block) => parseXzSize(block, maximumBytes));
  const output = Buffer.allocUnsafe(sizes.reduce((sum, size) => sum + size, 0));
  let filled = 0;
  const overflow = new AbortController();
  const sink = new Writable({
    write(chunk: Buffer, _, done) {
      if (filled + chunk.length > output.length) overflow.abort(corrupt('its xz data are more than they claim'));
      else chunk.copy(output, filled);
      filled += chunk.length;
      done();
    },
  });
  const user = newUnprivilegedUser(unprivilegedIds);
  try {
    const limits = [`--data=${4 * memoryBytes}`, `--cpu=${60 + Math.ceil(output.length / 2 ** 20)}`, '--core=0', '--'];
    const command = `exec xz --decompress --stdout --no-warn --memlimit-decompress=${memoryBytes} >&4`;
    const either = AbortSignal.any([signal, overflow.signal]);
    const options = { user, signal: either, input: Buffer.concat(blocks), onStatusLine: () => {}, result: sink };
    await exec('prlimit', [...limits, 'sh', '-c', command], options);
    await finished(sink, { signal: either });
  } catch (error) {
    throw explain(error, overflow.signal);
  } finally {
    await endProcesses(user);
  }
  overflow.signal.throwIfAborted();
  if (filled !== output.length) throw corrupt('its xz data are less than they claim');
  let end = 0;
  return sizes.map((size) => {
    end += size;
    return output.subarray(end - size, end);
  });
}

function explain(error: unknown, overflow: AbortSignal): unknown {
  if (overflow.aborted) return overflow.reason;
  if (!(error instanceof ExecError) || saysNoSpace(error.stderr)) return error;
  const isMissing = /not found/.test(error.stderr);
  return isMissing || error.exitCode === undefined ? error : corrupt('its xz data are damaged', { cause: error });
}

/**
 * Size of the content of one .xz file by its index (The .xz File Format 1.2, 2.1.2 and 4.3). Throws `image.corrupt`
 * where it has none, or more than `maximumBytes`.
 */
export function parseXzSize(file: Buffer, maximumBytes: number): number {
  const fault = () => corrupt('a block is no xz data');
  const footer = file.length - footerBytes;
  if (footer < footerBytes || file.toString('latin1', footer + 10) !== 'YZ') throw fault();
  let at = footer - (file.readUInt32LE(footer + 4) + 1) * 4;
  if (at < footerBytes || file[at] !== 0) throw fault();
  at += 1;
  /** Up to nine bytes of seven bits, the lowest first. */
  const number = (): number => {
    let value = 0;
    for (let shift = 0; shift < 63 && at < footer; shift += 7) {
      const byte = file[at] ?? 0;
      at += 1;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw fault();
  };
  let total = 0;
  for (let records = number(); records > 0; records -= 1) {
    number();
    total += number();
    if (total > maximumBytes) throw corrupt(`a block of xz data claims more than ${maximumBytes} bytes`);
  }
  return total;
}
