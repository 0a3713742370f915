import { randomBytes } from 'node:crypto';
import type { Duplex, Readable, Writable } from 'node:stream';
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { ImageBuilderError } from '../../errors.ts';
import { collectLines, pour } from '../../exec.ts';
import type { Limited } from './limits.ts';

/**
 * The ports between the worker and init in the vm (scripts/init.sh describes the protocol). All input counts as
 * hostile: control lines are few and short, output is only ever text that people read, and a result is only stored.
 */
export interface Channel {
  /** Resolves when init has done all that is the same for every vm: with false where its state must not be saved. */
  hold(): Promise<boolean>;
  /** Has init take up its disks and new random numbers; resolves when it waits for its first script. */
  begin(): Promise<void>;
  /** Has init run the payload; one at a time. */
  run(handlers: RunHandlers): Run;
}

export interface RunHandlers {
  readonly onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
  readonly onStatusLine?: (line: string) => void;
  /** Gets all that is written to descriptor 4. */
  readonly result?: Writable;
}

export interface Run {
  /** The exit code, 0 to 255, when all output is there. Never settles when the vm is lost. */
  readonly exitCode: Promise<number>;
  /** Output so far, at most the last 1 MiB of characters of each. */
  readonly stdout: () => string;
  readonly stderr: () => string;
}

/** The names of the ports, in the order of their file descriptors. */
export const portNames = ['control', 'stdout', 'stderr', 'status', 'result'] as const;
export type Ports = Readonly<Record<(typeof portNames)[number], Duplex>>;

const maximumControlCharacters = 128;
/** As many as the kernel's pool of random numbers holds, twice over. */
const seedBytes = 64;

export interface ChannelEvents {
  /** Called when the vm breaks the protocol; the vm has to be ended then. */
  readonly onFault: (error: ImageBuilderError) => void;
  /** Called, before the script in progress ends, when processes have met a limit; possibly more than once. */
  readonly onLimit: (limited: Limited) => void;
}

export function openChannel(ports: Ports, { onFault, onLimit }: ChannelEvents): Channel {
  const outputs = {
    stdout: createOutputPort(ports.stdout),
    stderr: createOutputPort(ports.stderr),
    status: createOutputPort(ports.status),
    result: createOutputPort(ports.result),
  };
  // The worker notices the end of a vm by its process; its ports only fall silent.
  for (const name of portNames) ports[name].on('error', () => {});

  const held = Promise.withResolvers<boolean>();
  const ready = Promise.withResolvers<void>();
  const greetings = new Map([
    ['held', () => held.resolve(true)],
    ['refused', () => held.resolve(false)],
    ['ready', () => ready.resolve()],
  ]);
  let awaited: { readonly nonce: string; readonly resolve: (exitCode: number) => void } | null = null;
  readControl(ports.control, (line) => {
    const greet = greetings.get(line ?? '');
    if (greet !== undefined) {
      greetings.delete(line ?? '');
      greet();
      return;
    }
    if (line === 'limit memory' || line === 'limit processes') {
      onLimit(line === 'limit memory' ? 'memory' : 'processes');
      return;
    }
    const [, nonce, code] = /^done ([0-9a-f]{32}) ([0-9]{1,3})$/.exec(line ?? '') ?? [];
    if (awaited === null || nonce !== awaited.nonce || Number(code) > 255) {
      onFault(new ImageBuilderError('guest.failed', 'the vm does not keep to the protocol of its control port'));
      return;
    }
    awaited.resolve(Number(code));
    awaited = null;
  });

  return {
    async hold() {
      ports.control.write('hold\n');
      return await held.promise;
    },
    async begin() {
      // It waits in the port until init reads it.
      ports.control.write(`begin ${randomBytes(seedBytes).toString('hex')}\n`);
      await ready.promise;
    },
    run({ onLine = () => {}, onStatusLine = () => {}, result }) {
      const nonce = randomBytes(16).toString('hex');
      const mark = Buffer.from(`\0${nonce}`);
      const streams = {
        stdout: outputs.stdout.until(mark),
        stderr: outputs.stderr.until(mark),
        status: outputs.status.until(mark),
        result: outputs.result.until(mark),
      };
      const stdout = collectLines(streams.stdout, (line) => onLine(line, 'stdout'));
      const stderr = collectLines(streams.stderr, (line) => onLine(line, 'stderr'));
      collectLines(streams.status, onStatusLine);
      if (result === undefined) streams.result.resume();
      else pour(streams.result, result);
      const done = new Promise<number>((resolve) => {
        awaited = { nonce, resolve };
      });
      ports.control.write(`run ${nonce}\n`);
      const whole = Promise.all(Object.values(streams).map((stream) => finished(stream)));
      return { exitCode: Promise.all([done, whole]).then(([exitCode]) => exitCode), stdout, stderr };
    },
  };
}

/** Calls `onLine` with each line, or with null for a line that is longer than any valid one. */
function readControl(port: Readable, onLine: (line: string | null) => void): void {
  let partial = '';
  port.setEncoding('latin1');
  port.on('data', (chunk: string) => {
    const lines = (partial + chunk).split('\n');
    partial = lines.pop() ?? '';
    for (const line of lines) onLine(line);
    if (partial.length <= maximumControlCharacters) return;
    partial = '';
    onLine(null);
  });
}

interface OutputPort {
  /** The bytes from now on up to `mark`, which is left out. */
  until(mark: Buffer): Readable;
}

/** Reads as fast as the output of a script is taken; output outside a script is dropped. */
function createOutputPort(port: Readable): OutputPort {
  let mark: Buffer = Buffer.alloc(0);
  let sink: PassThrough | null = null;
  let held: Buffer = Buffer.alloc(0);
  port.on('data', (chunk: Buffer) => {
    if (sink === null) return;
    const bytes = Buffer.concat([held, chunk]);
    const end = bytes.indexOf(mark);
    if (end >= 0) {
      sink.end(bytes.subarray(0, end));
      sink = null;
      return;
    }
    // The mark may have arrived in part.
    const start = bytes.lastIndexOf(0, bytes.length - 1);
    const from = start >= 0 && bytes.length - start < mark.length ? start : bytes.length;
    held = bytes.subarray(from);
    const taken = sink;
    if (taken.write(bytes.subarray(0, from))) return;
    port.pause();
    taken.once('drain', () => port.resume());
  });
  return {
    until(next) {
      mark = next;
      held = Buffer.alloc(0);
      sink = new PassThrough();
      return sink;
    },
  };
}
