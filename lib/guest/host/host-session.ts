import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { onAbort } from '../../async.ts';
import type { ImageBuilderError } from '../../errors.ts';
import { ExecError } from '../../exec.ts';
import type { Log } from '../../log.ts';
import { giveTo } from '../../unprivileged.ts';
import type { GuestDisk, GuestOutput, GuestScript, GuestSession, LayerChanges } from '../guest.ts';
import { lending } from '../lend.ts';
import { openOutbox } from '../outbox.ts';
import { guestScripts } from '../script.ts';
import {
  borrowScript,
  fileNames,
  fileSystemErrors,
  limitError,
  ownLimitMs,
  scriptEnvironment,
  scriptError,
  tooManyProcesses,
} from '../script-run.ts';
import { changesArguments } from '../stack.ts';
import { saveTreeChanges } from '../tree-changes.ts';
import type { Attachment } from './attach.ts';
import type { Cgroup, CgroupHits, GuestLimits } from './cgroup.ts';
import { containerRoot } from './container.ts';
import { countErrors, detach } from './detach.ts';
import { explainLoss } from './loss.ts';
import { execContainer, execInside } from './namespace.ts';
import type { Supervision } from './supervision.ts';

export interface HostSessionParts {
  readonly supervision: Supervision;
  readonly attachment: Attachment;
  /** The process that holds the user namespace of containers with foreign programs; null for a new one for each. */
  readonly holderId: number | null;
  readonly directory: string;
  readonly exportPath: string;
  readonly disk: GuestDisk;
  /** Holds all processes of scripts. */
  readonly cgroup: Cgroup;
  readonly limits: GuestLimits;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Address of the worker's proxy for scripts; null without a network. */
  readonly proxyUrl: string | null;
  /** Takes the guest down and removes its folder; may be called again. */
  readonly end: () => Promise<void>;
}

/**
 * Pause between two looks at a running script: one that forks without end must not go on until the build's time limit.
 */
const limitsLookMs = 500;

export function createHostSession(parts: HostSessionParts): GuestSession {
  const { supervision, attachment, directory, disk, cgroup, limits, log, signal, proxyUrl, end } = parts;
  const { firstId, hostname } = attachment;
  const environment = scriptEnvironment(disk, proxyUrl);
  const openedAt = Math.floor(Date.now() / 1000);
  const errorsAtStart = countErrors(attachment.loops);

  // Without a cgroup, at least no single process takes all memory. The number of root's processes has no such limit.
  const dataBytes = cgroup.missing.memory === undefined ? null : limits.guestMemoryBytes;
  // Kept once it is met: the supervisor removes the group together with the guest, and the counts with it.
  let met: ImageBuilderError | null = null;
  const exceeded = async () => {
    const now = exceededLimit(await cgroup.hits(), limits);
    met ??= now;
    return met;
  };

  // A container of its own for the second of two scripts would take as long as the script itself.
  let isGivenBack = false;
  const run = async (script: GuestScript): Promise<GuestOutput> => {
    if (script.isLast !== true) return await runner.run(script);
    const output = await runner.run({ ...script, text: `${script.text}\n(\n${guestScripts['give-back']}\n)\n` });
    isGivenBack = true;
    return output;
  };

  const runAlone = async (script: GuestScript): Promise<GuestOutput> => {
    const limit = script.timeoutMs === undefined ? undefined : AbortSignal.timeout(script.timeoutMs);
    await using outbox = await openOutbox(script);
    const own = [limit, outbox?.failed].filter((each) => each !== undefined);
    const abort = AbortSignal.any([signal, supervision.lost, ...own]);
    abort.throwIfAborted();
    // Only the end of the namespaces stops every process that a script may have started.
    const stop = () => void supervision.stop();
    using _listener = onAbort(abort, stop);
    const look = setInterval(() => {
      void exceeded().then((error) => {
        if (error !== null) stop();
      });
    }, limitsLookMs);
    const job = await writeJob(join(directory, 'jobs'), script, firstId);
    try {
      const name = basename(job);
      const { stdout, stderr } = await execContainer(
        { processId: supervision.processId, directory: join(directory, 'containers'), name, doors: cgroup.doors },
        {
          command: [
            ...['/bin/sh', '-c', guestScripts.runner, script.name, `/run/imagebuilder/${name}`],
            ...(script.arguments ?? []),
          ],
          environment: { ...environment, ...script.env },
          devices: attachment.devices,
          ...{ hostname, dataBytes, firstId },
          ...(parts.holderId === null ? {} : { holderId: parts.holderId }),
        },
        {
          ...(script.onLine === undefined ? {} : { onLine: script.onLine }),
          // Always given, so that descriptor 3 is there for every script.
          onStatusLine: script.onStatusLine ?? (() => {}),
          ...(outbox === null ? {} : { result: outbox.input }),
        },
      );
      abort.throwIfAborted();
      // A script that met a limit has left something undone, whatever its exit code.
      const error = await exceeded();
      if (error !== null) throw error;
      await outbox?.keep();
      return { stdout, stderr };
    } catch (error) {
      throw outbox?.failed.aborted === true
        ? outbox.failed.reason
        : await explain(error, script, limit?.aborted === true);
    } finally {
      clearInterval(look);
      await rm(job, { recursive: true, force: true });
    }
  };

  const runner = lending(runAlone, borrowScript(disk));

  const explain = async (error: unknown, script: GuestScript, timedOut: boolean): Promise<unknown> => {
    if (signal.aborted) return signal.reason;
    if (!(error instanceof ExecError)) return error;
    const { exitCode, signalName, stdout, stderr } = error;
    const failure = { exitCode, signalName, stdout, stderr, cause: error };
    const tooMuch = await exceeded();
    if (tooMuch !== null) return tooMuch;
    if (timedOut) return scriptError(script, { ...failure, timedOut: true });
    const cause = await explainLoss(error, parts);
    if (cause !== error) return cause;
    return scriptError(script, { ...failure, timedOut: false });
  };

  const close = async (): Promise<void> => {
    if (runner.hasLent() && !isGivenBack)
      await run({ name: 'give-back', text: guestScripts['give-back'], timeoutMs: ownLimitMs });
    if ('partitions' in disk && disk.changes !== undefined) await saveTreeChanges(runAlone, disk.changes, ownLimitMs);
    const changes = 'layers' in disk ? disk.changes : undefined;
    // The end of the namespaces unmounts everything too, and hides errors; the changes of layers are saved before.
    const unmount = changes === undefined ? [containerRoot, join(directory, 'root'), ...attachment.stages] : [];
    await settle(unmount).catch(async (error: unknown) => Promise.reject(await explainLoss(error, parts)));
    if (changes !== undefined) await saveChanges(changes);
    await end();
  };

  const saveChanges = async (changes: LayerChanges): Promise<void> => {
    const [scratch = ''] = attachment.stages;
    await using outbox = await openOutbox({ name: 'changes', outbox: changes });
    if (outbox === null) return;
    const abort = AbortSignal.any([signal, supervision.lost, outbox.failed]);
    using _listener = onAbort(abort, () => void supervision.stop());
    const command = ['sh', '-c', 'exec tar "$@" >&4', 'changes', ...changesArguments(scratch)];
    try {
      await execInside(supervision.processId, command, { onStatusLine: () => {}, result: outbox.input });
    } catch (error) {
      throw abort.aborted ? abort.reason : await explainLoss(error, parts);
    }
    await outbox.keep();
  };

  const settle = async (unmount: readonly string[]): Promise<void> => {
    const { processId } = supervision;
    const { errors, untrimmed } = await detach(attachment, { processId, openedAt, unmount });
    if (untrimmed !== undefined) log.debug('a file system of the image is not trimmed', { folder: untrimmed });
    if (errors > (await errorsAtStart)) throw fileSystemErrors();
    supervision.lost.throwIfAborted();
  };

  return {
    kind: 'host',
    network: proxyUrl !== null,
    ...(proxyUrl === null ? {} : { proxyUrl }),
    ...(parts.holderId === null ? {} : { emulation: 'programs' as const }),
    mounted: attachment.mounted,
    notMounted: attachment.notMounted,
    run,
    close,
    [Symbol.asyncDispose]: end,
  };
}

/** The error of a guest that went beyond its limits; null where it has not. */
function exceededLimit(hits: CgroupHits, limits: GuestLimits): ImageBuilderError | null {
  const { guestMemoryBytes, guestProcesses } = limits;
  if (hits.memory > 0) {
    return limitError(
      `memory than the ${Math.floor(guestMemoryBytes / 2 ** 20)} MiB that IMAGEBUILDER_GUEST_MEMORY allows`,
    );
  }
  return hits.processes > 0 ? limitError(tooManyProcesses(guestProcesses)) : null;
}

async function writeJob(jobs: string, script: GuestScript, owner: number | null): Promise<string> {
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
  await giveTo(owner === null ? null : { id: owner, groups: [] }, job);
  return job;
}

/** Copies a folder, at no cost where the file system can share blocks: scripts inside must not get at the originals. */
async function copyFolder(source: string, target: string): Promise<void> {
  await mkdir(target);
  for (const name of await fileNames(source)) {
    const path = join(target, name);
    await copyFile(join(source, name), path, constants.COPYFILE_FICLONE);
    await chmod(path, 0o644);
  }
}
