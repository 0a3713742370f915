import { readFile } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { execa } from 'execa';
import { orAborted } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { cleanEnvironment, collectLines, lastLines } from '../../exec.ts';
import { privilegeArguments, type UnprivilegedUser } from '../../privileges.ts';
import { guestVariable } from '../identity.ts';
import { type Channel, openChannel, portNames } from './channel.ts';
import { openFiles } from './handed-files.ts';
import { diedOfMemory, limitMet, type VmLimits } from './limits.ts';
import { type MachineOptions, machineCommand } from './machine-command.ts';

/** A running QEMU. It is killed when this process dies, in whatever way. */
export interface Vm extends AsyncDisposable {
  readonly channel: Channel;
  /** QEMU's monitor (QMP), and where it saves its state to; null without a folder for that. */
  readonly saving: { readonly monitor: Duplex; readonly uri: string } | null;
  /**
   * Aborted, with the error as its reason, when the vm has ended by itself, or was ended because its processes went
   * beyond a limit (`guest.limit`). Root in the vm can pretend the latter, and gains nothing by it.
   */
  readonly lost: AbortSignal;
  /** The last lines of the kernel's console and of QEMU's own messages. */
  console(): readonly string[];
  /** Most memory that QEMU has had so far, in bytes; null where that is not known. */
  peakMemoryBytes(): Promise<number | null>;
  /**
   * Ends QEMU once its file has everything that it has written; the image must be unmounted. Throws `guest.failed`
   * where that takes longer than `limitMs`, and kills it.
   */
  end(limitMs: number): Promise<void>;
  /** Kills it and waits until it is gone. */
  kill(): Promise<void>;
}

export interface VmOptions extends Omit<MachineOptions, 'ports' | 'firstPort'> {
  /** The user for QEMU; null for the worker's own. */
  readonly user: UnprivilegedUser | null;
  /** The limits that the vm's init enforces, to be named in errors. */
  readonly limits: VmLimits;
}

const consoleLines = 60;
const maximumConsoleLineCharacters = 400;
const firstPort = 3;

/**
 * Starts QEMU and resolves when its init is ready. Throws the reason of `lost` or `signal` where one of them is aborted
 * before that.
 */
export async function startVm(options: VmOptions, limitMs: number, signal: AbortSignal): Promise<Vm> {
  signal.throwIfAborted();
  const vm = await launchVm(options);
  const limit = AbortSignal.timeout(limitMs);
  try {
    await orAborted(vm.channel.begin(), signal, vm.lost, limit);
    return vm;
  } catch (error) {
    await vm.kill();
    if (error !== limit.reason) throw error;
    throw new ImageBuilderError('guest.failed', `the vm has not started within ${limitMs / 1000} seconds`, {
      logTail: vm.console(),
    });
  }
}

/** Starts QEMU. */
export async function launchVm(options: VmOptions): Promise<Vm> {
  const { arguments: words, files, saveUri } = machineCommand({ ...options, ports: portNames, firstPort });
  const command = [
    ...['--pdeathsig', 'KILL', ...privilegeArguments(options.user), '--'],
    ...['prlimit', '--core=0', '--', options.machine.emulator, ...words],
  ];
  await using opened = await openFiles(files, options);
  // Node's pipes are socket pairs, which QEMU gets as descriptors: they have no paths to which another process could
  // connect.
  const child = execa('setpriv', command, {
    env: { ...cleanEnvironment, [guestVariable]: options.directory },
    extendEnv: false,
    // execa takes descriptors, too, although its types do not have them in these places.
    stdio: [
      'ignore',
      'pipe',
      'pipe',
      ...portNames.map(() => 'pipe' as const),
      ...(saveUri === null ? [] : (['pipe'] as const)),
      ...(opened.descriptors as unknown as 'pipe'[]),
    ],
    buffer: false,
    reject: false,
    detached: true,
    cleanup: true,
  });
  const console: string[] = [];
  const onLine = (line: string) => {
    const text = line.replaceAll(/\p{Cc}/gu, '').trimEnd();
    if (text !== '') console.push(text.slice(0, maximumConsoleLineCharacters));
    if (console.length > consoleLines) console.shift();
  };
  const messages = collectLines(child.stderr, onLine);
  collectLines(child.stdout, onLine);

  const lost = new AbortController();
  let ending = false;
  const lose = (error: ImageBuilderError) => {
    if (!ending) lost.abort(error);
  };
  const ended = child.then((result) => {
    const logTail = [...console];
    if (diedOfMemory(logTail)) lose(limitMet('memory', options.limits, logTail));
    const why = lastLines(messages(), 1)[0] ?? console.at(-1) ?? `exit code ${result.exitCode ?? result.signal ?? '?'}`;
    lose(new ImageBuilderError('guest.failed', `the vm has ended by itself: ${why}`, { logTail }));
  });
  const killNow = () => {
    ending = true;
    child.kill('SIGKILL');
  };
  const streams = child.stdio.slice(firstPort, firstPort + portNames.length + 1) as unknown as Duplex[];
  const [control, stdout, stderr, status, result, monitor] = streams;
  if (!control || !stdout || !stderr || !status || !result) {
    throw new ImageBuilderError('internal', 'the ports of the vm are not there');
  }
  const end = (error: ImageBuilderError) => {
    lose(error);
    killNow();
  };
  const channel = openChannel(
    { control, stdout, stderr, status, result },
    { onFault: end, onLimit: (limited) => end(limitMet(limited, options.limits, [...console])) },
  );
  return {
    channel,
    saving: saveUri === null || monitor === undefined ? null : { monitor, uri: saveUri },
    lost: lost.signal,
    console: () => [...console],
    async peakMemoryBytes() {
      const text = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
      const match = /^VmHWM:\s*([0-9]+) kB$/m.exec(text);
      return match === null ? null : Number(match[1]) * 1024;
    },
    async end(limitMs) {
      lost.signal.throwIfAborted();
      ending = true;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
      const { exitCode } = await child;
      clearTimeout(timer);
      if (exitCode !== 0) throw new ImageBuilderError('guest.failed', 'the vm could not be ended in an orderly way');
    },
    async kill() {
      killNow();
      await ended;
    },
    async [Symbol.asyncDispose]() {
      killNow();
      await ended;
    },
  };
}
