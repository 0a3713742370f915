import type { Duplex } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { collectLines } from '../../exec.ts';
import { kernelMark } from './trial-machine.ts';

/** The serial console of a machine that boots an image for a trial. Firmware, boot loader and system write to it. */
export interface TrialConsole {
  /** Version of the kernel that came up; null where the system did not say. */
  readonly kernel: string | null;
  /** The last lines. */
  lines(): string[];
  stop(): void;
}

const maximumLines = 60;
const maximumLineCharacters = 400;

/** Last words on the console of a system that does not come up. */
const dead =
  /grub rescue>|^(?:grub|Shell)>|ALERT! |Kernel panic - |You are in emergency mode|No bootable device|BdsDxe: No bootable option|\(initramfs\)|Could not find kernel image:|you need to load the kernel first/;

/** Reads the console. `onDead` is called with a reason, once the system cannot come up any more. */
export function readConsole(console: Duplex, onDead: (reason: string) => void): TrialConsole {
  const lines: string[] = [];
  let kernel: string | null = null;
  const text = collectLines(console, (raw) => {
    const line = clean(raw);
    if (line === '') return;
    lines.push(line);
    if (lines.length > maximumLines) lines.shift();
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
