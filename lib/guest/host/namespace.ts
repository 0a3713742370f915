import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ExecOptions, type ExecResult, exec } from '../../exec.ts';
import { type Container, renderContainer } from './container.ts';

type InsideOptions = Omit<ExecOptions, 'signal' | 'timeoutMs' | 'user' | 'endsByItself'>;

/** Runs a command of the worker inside the namespaces of process `processId`; it ends with them. */
export async function execInside(
  processId: number,
  command: readonly string[],
  options: InsideOptions = {},
): Promise<ExecResult> {
  // No signal or time limit here: killing nsenter would leave its child running. Ending the namespaces ends both.
  return await exec('nsenter', [...enterArguments(processId), ...command], { ...options, endsByItself: true });
}

export interface ContainerPlace {
  /** First process of the namespaces. */
  readonly processId: number;
  /** A folder for the runtime's own files, invisible inside. */
  readonly directory: string;
  /** Unique among the containers of the folder. */
  readonly name: string;
  /** `cgroup.procs` files of the cgroups that it joins. */
  readonly doors: readonly string[];
}

/**
 * Runs the command of a container, by crun, inside the namespaces of process `processId`; all its processes end with
 * the first one, and with the namespaces. Besides standard input and output it gets descriptor 3, and 4 where there is a
 * `result`. Throws ExecError as `exec`; crun writes its own errors to standard error and ends with exit code 1.
 */
export async function execContainer(
  place: ContainerPlace,
  container: Container,
  options: Omit<InsideOptions, 'input'> = {},
): Promise<ExecResult> {
  const bundle = join(place.directory, place.name);
  const inherited = options.result === undefined ? '1' : '2';
  await mkdir(bundle);
  try {
    await writeFile(join(bundle, 'config.json'), renderContainer(container));
    return await exec(
      'sh',
      [
        ...['-c', joinScript, 'join', ...place.doors, '--', 'nsenter', ...enterArguments(place.processId)],
        // The container stays in the cgroup that it is started in.
        ...['crun', '--cgroup-manager=disabled', '--root', join(place.directory, 'state'), 'run'],
        // The filter refuses every call about keys, and Docker's own filter refuses the one for a new keyring.
        ...['--bundle', bundle, '--preserve-fds', inherited, '--no-new-keyring', place.name],
      ],
      // Not the worker's /dev/null, whose mode root inside could change.
      { ...options, input: '', endsByItself: true },
    );
  } finally {
    await rm(bundle, { recursive: true, force: true });
  }
}

/** Joins the cgroup of each `cgroup.procs` file, and then becomes the command after `--`. */
const joinScript = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 70; shift; done; shift; exec "$@"';

function enterArguments(processId: number): string[] {
  return ['--target', String(processId), '--mount', '--pid', '--ipc', '--uts', '--net', '--'];
}
