import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { execa } from 'execa';
import { z } from 'zod';
import { onAbort } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { cleanEnvironment, collectLines, lastLines } from '../../exec.ts';
import type { ImageInspection } from '../../image/inspection.ts';
import { createOverlay } from '../../image/overlay.ts';
import { type IdRange, privilegeArguments } from '../../privileges.ts';
import { guestDirectory, guestVariable } from '../identity.ts';
import { openFiles } from './handed-files.ts';
import { type Accelerator, findMachine } from './machine.ts';
import { assertFirmware, type Firmware, kernelMark, trialCommand, uefiVariables } from './trial-machine.ts';
import { vmUser } from './vm-user.ts';

/** Boots an image for a trial, in a machine that is thrown away. */

export interface TrialOptions {
  /** The image, which is only read. */
  readonly path: string;
  readonly inspection: ImageInspection;
  readonly firmware: Firmware;
  readonly accelerator: Accelerator;
  /** The build's folder, in which no guest is open. */
  readonly workDirectory: string;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

export interface Booted {
  /** Version of the kernel that came up; null where the system did not say. */
  readonly kernel: string | null;
}

/** An emulated machine is up within a minute; beside other builds it takes several times as long. */
const limitMs = 10 * 60_000;
/** The power button is pressed for systems that take no orders from the machine; logind obeys it once it is there. */
const buttonFromMs = 20_000;
const buttonEveryMs = 3_000;
/** The loader of removable disks may restart the machine once. */
const maximumResets = 4;
const consoleLines = 60;
const maximumLineCharacters = 400;
const [consolePort, monitorPort] = [3, 4];

/** Last words on the console of a system that does not come up. */
const dead =
  /grub rescue>|^(?:grub|Shell)>|ALERT! |Kernel panic - |You are in emergency mode|No bootable device|BdsDxe: No bootable option|\(initramfs\)/;

const monitorEvent = z.object({ event: z.string(), data: z.object({ reason: z.string().optional() }).optional() });

/** Throws `guest.unavailable` where no machine can be had for `bootTrial`. */
export async function assertTrials(): Promise<void> {
  const { emulator } = await findMachine();
  if (emulator !== 'qemu-system-x86_64') {
    throw new ImageBuilderError('guest.unavailable', 'images are booted for a check on amd64 machines only');
  }
}

/**
 * Boots the image until its system is up. Throws `image.unbootable` with the console's last lines, `guest.unavailable`
 * where the machine cannot be had, `guest.failed` where it ends by itself, or the reason of the signal.
 */
export async function bootTrial(options: TrialOptions): Promise<Booted> {
  const { signal, firmware } = options;
  signal.throwIfAborted();
  await assertFirmware(firmware);
  const directory = guestDirectory(options.workDirectory);
  await mkdir(directory, { mode: 0o700 });
  try {
    const overlayPath = join(directory, 'trial.qcow2');
    const variablesPath = join(directory, 'variables.fd');
    const { path, inspection, unprivilegedIds } = options;
    await createOverlay({ basePath: path, base: inspection, overlayPath, unprivilegedIds, signal });
    if (firmware === 'uefi') await copyFile(uefiVariables, variablesPath);
    return await watch(options, { directory, overlayPath, variablesPath });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

interface Place {
  readonly directory: string;
  readonly overlayPath: string;
  readonly variablesPath: string;
}

async function watch(options: TrialOptions, place: Place): Promise<Booted> {
  const { accelerator, firmware, signal } = options;
  const { emulator } = await findMachine();
  const image = { path: options.path, format: options.inspection.format };
  const machine = { emulator, accelerator, firmware, image, ...place, consolePort, monitorPort };
  const { arguments: words, files } = trialCommand(machine);
  const user = vmUser(options.unprivilegedIds, accelerator);
  const privileges = ['--pdeathsig', 'KILL', ...privilegeArguments(user), '--', 'prlimit', '--core=0', '--'];
  await using opened = await openFiles(files, { user, directory: place.directory });
  const child = execa('setpriv', [...privileges, emulator, ...words], {
    env: { ...cleanEnvironment, [guestVariable]: place.directory },
    extendEnv: false,
    // execa takes descriptors, too, although its types do not have them in these places.
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', ...(opened.descriptors as unknown as 'pipe'[])],
    buffer: false,
    reject: false,
    detached: true,
    cleanup: true,
  });
  const [console, monitor] = [child.stdio[consolePort], child.stdio[monitorPort]] as unknown as [Duplex, Duplex];
  const messages = collectLines(child.stderr, () => undefined);
  const verdict = Promise.withResolvers<string | null>();
  const said = listen(console, verdict.resolve);
  follow(monitor, verdict.resolve);
  const ended = child.then(() => {
    const last = lastLines(messages(), 1)[0];
    verdict.reject(
      new ImageBuilderError('guest.failed', `the machine has ended by itself: ${last ?? 'it gave no reason'}`),
    );
  });
  using _aborted = onAbort(signal, () => verdict.reject(signal.reason));
  const timer = setTimeout(() => verdict.resolve(`it is not up after ${limitMs / 60_000} minutes`), limitMs);
  try {
    const reason = await verdict.promise;
    const { kernel } = said;
    if (reason === null) return { kernel };
    throw new ImageBuilderError(
      'image.unbootable',
      `by ${firmwareNames[firmware]} the image does not boot: ${reason}`,
      {
        logTail: said.lines(),
      },
    );
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    await ended;
    said.stop();
  }
}

export const firmwareNames: Readonly<Record<Firmware, string>> = { bios: 'BIOS', uefi: 'UEFI' };

/** Reads the console, which the image writes. `onDead` is called with a reason, once the system cannot come up any more. */
function listen(console: Duplex, onDead: (reason: string) => void) {
  const lines: string[] = [];
  let kernel: string | null = null;
  const text = collectLines(console, (raw) => {
    const line = clean(raw);
    if (line === '') return;
    lines.push(line);
    if (lines.length > consoleLines) lines.shift();
    const mark = line.indexOf(kernelMark);
    const banner = / ?Linux version (\S{1,100}) /.exec(line);
    if (mark >= 0) kernel = line.slice(mark + kernelMark.length).trim();
    else if (banner !== null) kernel = banner[1] ?? null;
  });
  // Prompts do not end in a line break.
  const prompt = () => clean(text().slice(-maximumLineCharacters).split('\n').at(-1) ?? '');
  const timer = setInterval(() => {
    const word = [...lines, prompt()].find((line) => dead.test(line));
    if (word !== undefined) onDead(`its console says "${word.trim()}"`);
  }, 1_000);
  return {
    lines: () => [...lines, prompt()].filter((line) => line !== ''),
    get kernel() {
      return kernel;
    },
    stop: () => clearInterval(timer),
  };
}

function clean(text: string): string {
  return stripVTControlCharacters(text.slice(0, 4 * maximumLineCharacters))
    .replaceAll(/\p{Cc}/gu, '')
    .slice(0, maximumLineCharacters);
}

/** Presses the power button from time to time, and calls `onEnd` with null when the system has switched the machine off. */
function follow(monitor: Duplex, onEnd: (reason: string | null) => void): void {
  let resets = 0;
  const send = (command: string) => {
    if (monitor.writable) monitor.write(`${JSON.stringify({ execute: command })}\n`);
  };
  send('qmp_capabilities');
  let button: NodeJS.Timeout | undefined;
  const first = setTimeout(() => {
    button = setInterval(() => send('system_powerdown'), buttonEveryMs);
  }, buttonFromMs);
  monitor.on('error', () => undefined);
  monitor.once('close', () => {
    clearTimeout(first);
    clearInterval(button);
  });
  collectLines(monitor, (line) => {
    const parsed = monitorEvent.safeParse(parseJson(line));
    if (!parsed.success) return;
    const { event, data } = parsed.data;
    if (event === 'RESET') resets += 1;
    if (resets >= maximumResets) onEnd('it restarts again and again');
    if (event === 'SHUTDOWN' && data?.reason === 'guest-shutdown') onEnd(null);
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
