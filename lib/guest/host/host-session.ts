import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ExecError } from '../../exec.ts';
import type { Log } from '../../log.ts';
import type { GuestDisk, GuestOutput, GuestScript, GuestSession } from '../guest.ts';
import { guestScripts } from '../script.ts';
import { diskFull, fileNames, fileSystemErrors, scriptEnvironment, scriptError } from '../script-run.ts';
import type { Attachment } from './attach.ts';
import { execInside } from './namespace.ts';
import { waitFor } from './storage.ts';
import type { Supervision } from './supervision.ts';

export interface HostSessionParts {
  readonly supervision: Supervision;
  readonly attachment: Attachment;
  readonly directory: string;
  readonly disk: GuestDisk;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Takes the guest down and removes its folder; may be called again. */
  readonly end: () => Promise<void>;
}

export interface HostSession extends GuestSession {
  /** Puts into the image what it needs while it is open; `close` takes it out. */
  borrow(resolvConf: string | null): Promise<void>;
}

/**
 * What a script inside cannot do to the worker, whose network, clock and kernel it shares. Meant against accidents of
 * maintainer scripts; it does not contain a hostile one.
 */
const withheldCapabilities = ['sys_module', 'sys_rawio', 'sys_time', 'sys_boot', 'net_admin'];

const lostGraceMs = 2_000;

export function createHostSession(parts: HostSessionParts): HostSession {
  const { supervision, attachment, directory, disk, log, signal, end } = parts;
  const root = join(directory, 'root');
  const environment = scriptEnvironment(disk);
  const errorsAtStart = countErrors(attachment.loops);

  const run = async (script: GuestScript): Promise<GuestOutput> => {
    const limit = script.timeoutMs === undefined ? undefined : AbortSignal.timeout(script.timeoutMs);
    const abort = AbortSignal.any([signal, supervision.lost, ...(limit === undefined ? [] : [limit])]);
    abort.throwIfAborted();
    // Nothing but the end of the namespaces stops all that a script may have started.
    const stop = () => void supervision.stop();
    abort.addEventListener('abort', stop);
    const job = await writeJob(join(directory, 'jobs'), script);
    try {
      const { stdout, stderr } = await execInside(
        supervision.processId,
        [
          ...['setpriv', '--bounding-set', withheldCapabilities.map((name) => `-${name}`).join(','), '--'],
          ...['chroot', root, '/usr/bin/env', '-i'],
          ...Object.entries({ ...environment, ...script.env }).map(([name, value]) => `${name}=${value}`),
          ...['/bin/sh', '-c', guestScripts.runner, script.name, `/run/imagebuilder/${basename(job)}`],
          ...(script.arguments ?? []),
        ],
        {
          ...(script.onLine === undefined ? {} : { onLine: script.onLine }),
          // Always given, so that descriptor 3 is there for every script.
          onStatusLine: script.onStatusLine ?? (() => {}),
        },
      );
      abort.throwIfAborted();
      return { stdout, stderr };
    } catch (error) {
      throw await explain(error, script, limit?.aborted === true);
    } finally {
      abort.removeEventListener('abort', stop);
      await rm(job, { recursive: true, force: true });
    }
  };

  const explain = async (error: unknown, script: GuestScript, timedOut: boolean): Promise<unknown> => {
    if (signal.aborted) return signal.reason;
    if (!(error instanceof ExecError)) return error;
    const { exitCode, signalName, stdout, stderr } = error;
    const failure = { exitCode, signalName, stdout, stderr, cause: error };
    if (timedOut) return scriptError(script, { ...failure, timedOut: true });
    // Killed with its namespaces, the script may be heard of before the supervisor's word arrives.
    if (error.signalName === 'SIGKILL') await waitFor(() => supervision.lost.aborted, lostGraceMs);
    if (supervision.lost.aborted) return supervision.lost.reason;
    return (await diskFull(disk)) ?? scriptError(script, { ...failure, timedOut: false });
  };

  const close = async (): Promise<void> => {
    await run({ name: 'give-back', text: guestScripts['give-back'] });
    const worker = ['sh', '-c', guestScripts.detach, 'detach', root, ...attachment.mounted];
    const { stdout } = await execInside(supervision.processId, worker);
    if (stdout !== '') log.debug('a file system of the image is not trimmed', { reason: stdout.trim() });
    if ((await countErrors(attachment.loops)) > (await errorsAtStart)) {
      throw (await diskFull(disk)) ?? fileSystemErrors();
    }
    await execInside(supervision.processId, ['umount', '--recursive', root]);
    supervision.lost.throwIfAborted();
    await end();
  };

  return {
    kind: 'host',
    network: true,
    mounted: attachment.mounted,
    notMounted: attachment.notMounted,
    run,
    close,
    async borrow(resolvConf) {
      const files = resolvConf === null ? {} : { 'resolv.conf': resolvConf };
      await run({ name: 'borrow', text: guestScripts.borrow, files, arguments: Object.keys(files) });
    },
    [Symbol.asyncDispose]: end,
  };
}

async function writeJob(jobs: string, script: GuestScript): Promise<string> {
  const job = await mkdtemp(join(jobs, `${script.name}-`));
  await chmod(job, 0o755);
  const files = { ...script.files, script: script.text };
  for (const [name, content] of Object.entries(files)) {
    const path = join(job, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
    await chmod(path, 0o644);
  }
  if (script.folder !== undefined) await copyFolder(script.folder, join(job, 'folder'));
  return job;
}

/** Copies, which cost nothing where the file system can share blocks: what is inside must not get at the originals. */
async function copyFolder(source: string, target: string): Promise<void> {
  await mkdir(target);
  for (const name of await fileNames(source)) {
    const path = join(target, name);
    await copyFile(join(source, name), path, constants.COPYFILE_FICLONE);
    await chmod(path, 0o644);
  }
}

/** Errors that ext4 has counted on these devices; other file systems do not count. */
async function countErrors(loops: readonly string[]): Promise<number> {
  let sum = 0;
  for (const name of loops) {
    const text = await readFile(`/sys/fs/ext4/${name}/errors_count`, 'utf8').catch(() => '0');
    sum += Number.parseInt(text, 10);
  }
  return sum;
}
