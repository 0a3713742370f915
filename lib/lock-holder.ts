import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { cleanEnvironment } from './exec.ts';

/**
 * Processes that hold locks for this one, one lock each at a time. They stay for the next lock, since to start a process
 * takes this one longer than all that a small shell does. They end with their standard input, so with this process.
 */

/**
 * Reads a line with flock's options and one with a path, again and again. Answers with flock's exit code; behind the code 0
 * the lock is held until the next line is read, and answered with a second 0 when it is free. 66 (EX_NOINPUT of
 * sysexits.h): the path cannot be opened.
 */
const script = `
while IFS= read -r how && IFS= read -r path; do
  code=66
  {
    # shellcheck disable=SC2086 # several words
    flock $how 5
    code=$?
    [ "$code" != 0 ] || { echo 0 && read -r _; }
  } 5<"$path"
  echo "$code"
done
`;

/** The last word of its command, by which people tell it from other shells. Its descriptor 5 is the file of the lock that it holds. */
export const holderName = 'imagebuilder-lock';

/** Exit code where the path cannot be opened. */
export const cannotOpen = '66';

export interface Holder {
  /** Asks for a lock, and resolves with flock's exit code; null where the process has ended. */
  ask(how: string, path: string): Promise<string | null>;
  /** Frees the lock that it holds. */
  free(): Promise<void>;
  /** Ends it, also while it waits for a lock. */
  kill(): void;
  /** It holds no lock: others may use it. */
  giveBack(): void;
}

const idle: Holder[] = [];
const mostIdle = 8;

/** One that waits for work, or else a new one. */
export function takeHolder(): Holder {
  return idle.pop() ?? startHolder();
}

export function startHolder(): Holder {
  // A session of its own: a signal to the group of a terminal does not free locks, and `kill` reaches flock too.
  const stdio = ['pipe', 'pipe', 'ignore'] as const;
  const child = spawn('sh', ['-c', script, holderName], { stdio: [...stdio], env: cleanEnvironment, detached: true });
  const { stdin, stdout } = child;
  let text = '';
  let isGone = false;
  let answer: ((line: string | null) => void) | null = null;
  const settle = () => {
    const end = text.indexOf('\n');
    if (answer === null || (end < 0 && !isGone)) return;
    const resolve = answer;
    answer = null;
    resolve(end < 0 ? null : text.slice(0, end));
    text = text.slice(end + 1);
  };
  const lose = () => {
    isGone = true;
    const index = idle.indexOf(holder);
    if (index >= 0) idle.splice(index, 1);
    settle();
  };
  stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    settle();
  });
  // A process that has ended is noticed by its output.
  stdin.on('error', () => {});
  stdout.on('close', lose);
  child.on('error', lose);

  const send = (lines: string) =>
    new Promise<string | null>((resolve) => {
      answer = resolve;
      stdin.write(lines);
      settle();
    });
  // One that nobody uses keeps this process from ending no longer.
  const handles = [child, stdin, stdout].filter((each) => each === child || each instanceof Socket) as Socket[];
  const holder: Holder = {
    ask(how, path) {
      for (const handle of handles) handle.ref();
      return send(`${how}\n${path}\n`);
    },
    async free() {
      await send('\n');
    },
    kill() {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
    },
    giveBack() {
      for (const handle of handles) handle.unref();
      if (isGone) return;
      if (idle.length < mostIdle) idle.push(holder);
      else stdin.end();
    },
  };
  return holder;
}
