import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../../exec.ts';
import type { ScriptRunner } from '../../guest/guest.ts';
import type { WorkerPlace } from '../../worker-place.ts';
import { here } from './worker-files.ts';

/**
 * Runs the scripts of lib/apt on the worker itself, so that its apt stands in for an image's. They are ours, and the
 * image only supplies data that was checked. Holds them to limits, since the data may be made to cost much, and runs
 * them without rights, since they parse data of strangers.
 */
export function createWorkerRunner(options: {
  readonly place: WorkerPlace;
  /** The folder in it that `writeWorkerFiles` has filled. */
  readonly directory: string;
  /** Path of the file for APT_CONFIG. */
  readonly configuration: string;
  /** Paths in the image of files in that folder, by their paths there. */
  readonly names: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
}): ScriptRunner {
  const { place, directory, configuration, names, signal } = options;
  const shown = (line: string) =>
    [directory, here].reduce((text, folder) => inImage(text, `${folder}/`, names), line).replaceAll(directory, '');
  return {
    async run({ text, arguments: args = [], files = {}, folder, env = {}, onLine, onStatusLine, timeoutMs }) {
      const job = await mkdtemp(join(directory, 'job-'));
      try {
        for (const [name, content] of Object.entries({ ...files, script: text })) {
          await writeFile(join(job, name), content);
          await chmod(join(job, name), 0o444);
        }
        if (folder !== undefined) await symlink(folder, join(job, 'folder'));
        await chmod(job, 0o555);
        return await exec('prlimit', [...limits, '/bin/sh', join(job, 'script'), ...args], {
          user: place.user,
          cwd: directory,
          env: {
            ...env,
            JOB: job,
            APT_CONFIG: configuration,
            TMPDIR: join(directory, 'tmp'),
          },
          signal,
          ...(onLine === undefined ? {} : { onLine: (line, stream) => onLine(shown(line), stream) }),
          // Always given, so that descriptor 3 is there for every script.
          onStatusLine: onStatusLine ?? (() => {}),
          ...(timeoutMs === undefined ? {} : { timeoutMs }),
        });
      } finally {
        await chmod(job, 0o700);
        await rm(job, { recursive: true, force: true });
      }
    },
  };
}

/** A line of apt in which files of a folder have their paths in the image. Other files of the folder lose its name. */
function inImage(line: string, folder: string, names: ReadonlyMap<string, string>): string {
  const [first = '', ...parts] = line.split(folder);
  return parts.reduce((text, part) => {
    const path = /^[A-Za-z0-9._/-]*[A-Za-z0-9]/.exec(part)?.[0] ?? '';
    const known = names.get(path);
    // Each source has a file here, so the number behind it is none of the image's file.
    const rest = part.slice(path.length).replace(/^:[0-9]+/, '');
    return known === undefined ? `${text}/${part}` : `${text}${known}${rest}`;
  }, first);
}

const GiB = 2 ** 30;
/** Limits of each process. Lists of all of Debian need some 200 MiB of memory and a few seconds. */
const limits = ['--cpu=900', `--data=${2 * GiB}`, `--fsize=${8 * GiB}`, '--core=0', '--'];
