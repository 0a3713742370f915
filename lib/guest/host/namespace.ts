import { type ExecOptions, type ExecResult, exec } from '../../exec.ts';

/**
 * Runs a command of the worker inside the namespaces of process `processId`; it ends with them. `doors` are files of
 * the cgroup that it is to be in.
 */
export async function execInside(
  processId: number,
  command: readonly string[],
  options: Omit<ExecOptions, 'signal' | 'timeoutMs'> = {},
  doors: readonly string[] = [],
): Promise<ExecResult> {
  // No signal or time limit here: killing nsenter would leave its child to run on. Ending the namespaces ends both.
  const words = ['nsenter', ...enterArguments(processId), ...command];
  if (doors.length === 0) return await exec('nsenter', words.slice(1), options);
  return await exec('sh', ['-c', joinScript, 'join', ...doors, '--', ...words], options);
}

/** Goes through each door, and then becomes the command after `--`. */
const joinScript = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 70; shift; done; shift; exec "$@"';

function enterArguments(processId: number): string[] {
  return ['--target', String(processId), '--mount', '--pid', '--ipc', '--uts', '--'];
}
