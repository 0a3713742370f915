import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { collectLines } from '../../exec.ts';

/** The power button is pressed for systems that take no orders from the machine; logind obeys it once it is there. */
const buttonFromMs = 20_000;
const pressEveryMs = 3_000;
/** The loader of removable disks may restart the machine once. */
const maximumResets = 4;

const monitorEvent = z.object({ event: z.string(), data: z.object({ reason: z.string().optional() }).optional() });

export interface MonitorOptions {
  /** Whether a person would press the Enter key now, to go on from a menu. */
  readonly wantsEnter: () => boolean;
  /** Called with null when the system has switched the machine off, else with the reason why it does not come up. */
  readonly onEnd: (reason: string | null) => void;
}

/** Presses the power button and the Enter key of a machine from time to time, by its monitor (QMP). */
export function followMonitor(monitor: Duplex, { wantsEnter, onEnd }: MonitorOptions): void {
  let resets = 0;
  const send = (execute: string, words: object = {}) => {
    if (monitor.writable) monitor.write(`${JSON.stringify({ execute, ...words })}\n`);
  };
  send('qmp_capabilities');
  const startedAt = performance.now();
  const timer = setInterval(() => {
    if (wantsEnter()) send('send-key', { arguments: { keys: [{ type: 'qcode', data: 'ret' }] } });
    if (performance.now() - startedAt >= buttonFromMs) send('system_powerdown');
  }, pressEveryMs);
  monitor.on('error', () => undefined);
  monitor.once('close', () => clearInterval(timer));
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
