import { type ExecOptions, type ExecResult, exec } from '../../exec.ts';

/** Runs a command of the worker inside the namespaces of process `processId`; it ends with them. */
export async function execInside(
  processId: number,
  command: readonly string[],
  options: Omit<ExecOptions, 'signal' | 'timeoutMs'> = {},
): Promise<ExecResult> {
  // No signal or time limit here: killing nsenter would leave its child to run on. Ending the namespaces ends both.
  return await exec('nsenter', [...enterArguments(processId), ...command], options);
}

function enterArguments(processId: number): string[] {
  return ['--target', String(processId), '--mount', '--pid', '--ipc', '--uts', '--'];
}
