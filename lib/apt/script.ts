import { join } from 'node:path';
import { ImageBuilderError } from '../errors.ts';
import type { GuestScript, ScriptRunner } from '../guest/guest.ts';
import { readShellScripts } from '../shell-scripts.ts';

/** The scripts that run inside images, the same for every release. */
const names = [
  'facts',
  'packages',
  'room',
  'add-sources',
  'update',
  'sources-of',
  'resolve',
  'explain',
  'prepare',
  'hooks',
  'install',
  'plan',
  'hold',
  'automatic',
] as const;
export type ScriptName = (typeof names)[number];

/** Their texts; a script that runs another one gets that one as a file. */
export const texts = readShellScripts(join(import.meta.dirname, 'scripts'), names);

/** Limit of the kept output of one script: far more than apt ever writes. */
const maximumCharacters = 16 * 1024 * 1024;
/** The cost of a line beside its characters. */
const lineCharacters = 64;

/** A base image may have sources with a password in their URL, and apt shows them. */
const urlCredentials = /:\/\/[^\s/@'"]+@/g;

/**
 * Runs one of our scripts and returns every line it wrote, oldest first, without the credentials of URLs. Throws as
 * `runner.run` does.
 */
export async function runScript(
  runner: ScriptRunner,
  name: ScriptName,
  options: Omit<GuestScript, 'name' | 'text'> = {},
): Promise<string[]> {
  const lines: string[] = [];
  let characters = 0;
  await runner.run({
    ...options,
    name,
    text: texts[name],
    onLine: (raw, stream) => {
      const line = raw.replace(urlCredentials, '://');
      lines.push(line);
      characters += line.length + lineCharacters;
      // A script of a package may write without end; only the newest lines are needed, as they show how it went. Many
      // are dropped at a time, since each drop moves all others.
      if (characters > 2 * maximumCharacters) {
        const kept = lines.findIndex((older) => {
          characters -= older.length + lineCharacters;
          return characters <= maximumCharacters;
        });
        lines.splice(0, kept + 1);
      }
      options.onLine?.(line, stream);
    },
  });
  return lines;
}

/** The lines that a script has printed below `== NAME`, up to the next such line; null where it has not printed that. */
export function partOf(lines: readonly string[], name: string): readonly string[] | null {
  const start = lines.indexOf(`== ${name}`) + 1;
  if (start === 0) return null;
  const end = lines.findIndex((line, index) => index >= start && line.startsWith('== '));
  return lines.slice(start, end === -1 ? undefined : end);
}

export interface AptRun {
  /** apt's own exit code. */
  readonly exitCode: number;
  readonly lines: readonly string[];
}

/**
 * Runs a script that calls apt and reports apt's exit code as the status line `exit:CODE`, so that an error of apt
 * and a failure of the guest are never mistaken for each other. Throws `guest.failed` when no code came, or apt was
 * killed.
 */
export async function runApt(
  runner: ScriptRunner,
  name: ScriptName,
  options: Omit<GuestScript, 'name' | 'text'> = {},
): Promise<AptRun> {
  let exitCode: number | undefined;
  const lines = await runScript(runner, name, {
    ...options,
    onStatusLine: (line) => {
      const match = /^exit:([0-9]+)$/.exec(line);
      if (match === null) options.onStatusLine?.(line);
      else exitCode = Number(match[1]);
    },
  });
  if (exitCode === undefined) {
    throw new ImageBuilderError('guest.failed', `the script ${name} inside the image did not end as it should`, {
      logTail: lines.slice(-20),
    });
  }
  assertNotKilled(exitCode, lines);
  return { exitCode, lines };
}

/**
 * Throws `guest.failed` for an exit code by which a shell reports a signal: apt does not end so by itself. Memory has
 * run out, or somebody has killed it.
 */
export function assertNotKilled(exitCode: number, lines: readonly string[]): void {
  if (exitCode <= 128) return;
  throw new ImageBuilderError('guest.failed', `apt-get was killed by signal ${exitCode - 128}`, {
    logTail: lines.slice(-20),
  });
}
