import { readdir, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { exec } from '#lib/exec.ts';

/** Processors: which ones a process may use, and for how long it has had one. */

/**
 * Runs `action` with this process, and all that it starts, on all processors but the first, where there is another one: the
 * first is for the function that is measured (`bindToFirst`).
 */
export async function besideFirst<Value>(action: () => Promise<Value>): Promise<Value> {
  const processors = availableParallelism();
  await bind(process.pid, processors === 1 ? '0' : `1-${processors - 1}`);
  try {
    return await action();
  } finally {
    await bind(process.pid, `0-${processors - 1}`);
  }
}

/** Gives a process the first processor, which `besideFirst` keeps free. */
export async function bindToFirst(id: number): Promise<void> {
  await bind(id, '0');
}

/** Binds all threads of a process, and the processes that it starts from then on, to processors. */
async function bind(id: number, processors: string): Promise<void> {
  await exec('taskset', ['--all-tasks', '--cpu-list', '--pid', processors, String(id)]);
}

/** Time that a process has had a processor for so far (proc_pid_schedstat(5), in nanoseconds). */
export async function processorMs(id: number): Promise<number> {
  const tasks = await readdir(`/proc/${id}/task`);
  const times = tasks.map(async (task) => await readFile(`/proc/${id}/task/${task}/schedstat`, 'utf8'));
  return (await Promise.all(times)).reduce((sum, text) => sum + Number(text.split(' ')[0]) / 1e6, 0);
}
