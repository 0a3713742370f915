import { orAborted } from '../../async.ts';
import type { Log } from '../../log.ts';
import { shellWords } from '../../shell-scripts.ts';
import type { GuestDisk, GuestOutput, GuestScript, GuestSession, LayerChanges, LayeredDisk } from '../guest.ts';
import { lending } from '../lend.ts';
import { openOutbox } from '../outbox.ts';
import { guestScripts } from '../script.ts';
import { borrowScript, fileSystemErrors, ownLimitMs, scriptEnvironment, scriptError } from '../script-run.ts';
import { changesArguments, stackOf } from '../stack.ts';
import { saveTreeChanges } from '../tree-changes.ts';
import { type Attachment, readErrorCount } from './attach.ts';
import { linkedCommand } from './linked-program.ts';
import type { Accelerator } from './machine.ts';
import type { Payload } from './payload.ts';
import { vmScripts } from './script.ts';
import type { Vm } from './vm.ts';

/** Runs scripts in a vm, around the image and inside it. */
export interface ScriptRunner {
  /**
   * Runs it with the tools of the vm, as its root; with `first`, behind a script in the image, in one go: it is left out where
   * that one fails. The image cannot forge its output: that of `first` is dropped.
   */
  around(script: GuestScript, first?: Pick<GuestScript, 'name' | 'text'>): Promise<GuestOutput>;
  /** Runs it in the image, with the image's own shell. */
  inside(script: GuestScript): Promise<GuestOutput>;
}

export interface ScriptRunnerParts {
  readonly vm: Vm;
  readonly payload: Payload;
  readonly disk: GuestDisk;
  readonly signal: AbortSignal;
  /** The proxy's address inside; null without a network. */
  readonly proxyUrl: string | null;
}

const endLimitMs = 60_000;

export function createScriptRunner({ vm, payload, disk, signal, proxyUrl }: ScriptRunnerParts): ScriptRunner {
  const environment = scriptEnvironment(disk, proxyUrl);

  const run = async (start: string, script: GuestScript): Promise<GuestOutput> => {
    const limit = script.timeoutMs === undefined ? undefined : AbortSignal.timeout(script.timeoutMs);
    await using outbox = await openOutbox(script);
    const own = [limit, outbox?.failed].filter((each) => each !== undefined);
    const signals = [signal, vm.lost, ...own];
    for (const each of signals) each.throwIfAborted();
    await payload.write(outbox === null ? `exec 4>&-\n${start}` : start, script, signal);
    const { onLine, onStatusLine } = script;
    const running = vm.channel.run({
      ...(onLine === undefined ? {} : { onLine }),
      ...(onStatusLine === undefined ? {} : { onStatusLine }),
      ...(outbox === null ? {} : { result: outbox.input }),
    });
    const failure = (exitCode: number | undefined, timedOut: boolean) =>
      scriptError(script, {
        exitCode,
        signalName: undefined,
        timedOut,
        stdout: running.stdout(),
        stderr: running.stderr(),
      });
    let exitCode: number;
    try {
      exitCode = await orAborted(running.exitCode, ...signals);
    } catch (error) {
      await vm.kill();
      throw error === limit?.reason ? failure(undefined, true) : error;
    }
    await payload.clear();
    if (exitCode !== 0) throw failure(exitCode, false);
    await outbox?.keep();
    return { stdout: running.stdout(), stderr: running.stderr() };
  };

  /** Shell text that becomes the script, whose files are in that folder of the payload. */
  const enter = (script: Pick<GuestScript, 'name' | 'env' | 'arguments'>, folder: string) => {
    const variables = Object.entries({ ...environment, ...script.env }).map(([name, value]) => `${name}=${value}`);
    const command = [
      // An arm64 kernel would name its own processor to 32-bit programs, and packages build for that.
      ...(disk.architecture === 'armhf' ? ['linux32'] : []),
      ...['env', '-i', ...variables, 'chroot', '/guest/root'],
      ...['/bin/sh', '-c', guestScripts.runner, script.name, `/run/imagebuilder/job/${folder}`],
      ...(script.arguments ?? []),
    ];
    // The vm's own `env`, and the shell's `read`: a program of the image takes twice as long to start.
    return `read -r process </guest/process; exec nsenter -t "$process" -p -i -u ${shellWords(command)}`;
  };

  return {
    around: async (script, first) => {
      const start = `JOB=${jobs}/job/files exec sh ${jobs}/job/files/script ${shellWords(script.arguments ?? [])}\n`;
      const limited = { timeoutMs: ownLimitMs, ...script };
      if (first === undefined) return await run(start, limited);
      const files = { ...script.files, 'first/script': first.text };
      return await run(`(${enter(first, 'files/first')}) >/dev/null || exit $?\n${start}`, { ...limited, files });
    },
    inside: async (script) => await run(`${enter(script, 'files')}\n`, script),
  };
}

const jobs = '/guest/jobs';

export interface VmSessionParts {
  readonly runner: ScriptRunner;
  readonly vm: Vm;
  readonly disk: GuestDisk;
  readonly attachment: Attachment;
  readonly log: Log;
  readonly proxyUrl: string | null;
  readonly accelerator: Accelerator;
  /** Ends the vm and removes its folder; may be called again. */
  readonly end: () => Promise<void>;
}

export function createVmSession(parts: VmSessionParts): GuestSession {
  const { runner, vm, disk, attachment, log, proxyUrl, accelerator, end } = parts;
  const { mounted, notMounted } = attachment;
  const { run, hasLent } = lending(runner.inside, borrowScript(disk));

  const saveChanges = async (disk: LayeredDisk, outbox: LayerChanges): Promise<void> => {
    const command = [...linkedCommand('tar'), ...changesArguments(`/guest/open/${stackOf(disk).scratch.number}`)];
    await runner.around({ name: 'changes', text: `exec ${shellWords(command)} >&4\n`, outbox });
  };

  const close = async (): Promise<void> => {
    const giveBack = { name: 'give-back', text: guestScripts['give-back'] };
    const changes = 'partitions' in disk ? disk.changes : undefined;
    if (changes !== undefined) {
      if (hasLent()) await run({ ...giveBack, timeoutMs: ownLimitMs });
      await saveTreeChanges(runner.inside, changes, ownLimitMs);
    }
    const detach = { name: 'close', text: vmScripts.detach, arguments: [...mounted] };
    // In one go, since a run of its own takes an emulated vm longer than the script itself.
    const { stdout } = await runner.around(detach, changes === undefined && hasLent() ? giveBack : undefined);
    for (const line of stdout.split('\n')) {
      if (!line.startsWith('untrimmed ')) continue;
      log.debug('a file system of the image is not trimmed', { target: line.slice('untrimmed '.length) });
    }
    if (readErrorCount(stdout) > attachment.errorCount) throw fileSystemErrors();
    if ('layers' in disk && disk.changes !== undefined) await saveChanges(disk, disk.changes);
    const peak = await vm.peakMemoryBytes();
    await vm.end(endLimitMs);
    log.info('the vm has ended', { peak_memory_bytes: peak });
    await end();
  };

  return {
    kind: 'vm',
    network: proxyUrl !== null,
    ...(proxyUrl === null ? {} : { proxyUrl }),
    ...(accelerator === 'tcg' ? { emulation: 'machine' as const } : {}),
    mounted,
    notMounted,
    run,
    close,
    [Symbol.asyncDispose]: end,
  };
}
