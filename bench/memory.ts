import { readdir, readFile } from 'node:fs/promises';

/** Processes whose memory counts: a process with all its descendants. */
export interface ProcessTree {
  readonly root: number;
  /** Descendants that are left out, with their own descendants. */
  readonly except?: ReadonlySet<number>;
}

const sampleIntervalMs = 500;

/**
 * Runs `action` and looks twice a second at the memory of a tree of processes; this process itself never counts.
 * Memory that processes share counts once (Pss of proc_pid_smaps_rollup(5)); page cache and tmpfs do not.
 */
export async function withPeakMemory<Value>(
  tree: ProcessTree,
  action: () => Promise<Value>,
): Promise<{ readonly value: Value; readonly peakBytes: number }> {
  let peakBytes = 0;
  let sampling: Promise<void> | undefined;
  const sample = async () => {
    peakBytes = Math.max(peakBytes, await memoryOf(tree));
  };
  const timer = setInterval(() => {
    sampling ??= sample().finally(() => {
      sampling = undefined;
    });
  }, sampleIntervalMs);
  try {
    return { value: await action(), peakBytes };
  } finally {
    clearInterval(timer);
    await sampling;
  }
}

async function memoryOf({ root, except }: ProcessTree): Promise<number> {
  const children = new Map<number, number[]>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    // The name, in parentheses, may hold anything; the state and the parent follow.
    const [, parent = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    children.set(Number(parent), [...(children.get(Number(parent)) ?? []), Number(name)]);
  }
  const sum = async (id: number): Promise<number> => {
    if (except?.has(id) === true) return 0;
    const below = await Promise.all((children.get(id) ?? []).map(sum));
    const own = id === process.pid ? 0 : await memoryOfProcess(id);
    return below.reduce((total, bytes) => total + bytes, own);
  };
  return await sum(root);
}

async function memoryOfProcess(id: number): Promise<number> {
  // The process may have ended by now.
  const rollup = await readFile(`/proc/${id}/smaps_rollup`, 'utf8').catch(() => '');
  return Number(/^Pss: +([0-9]+) kB$/m.exec(rollup)?.[1] ?? 0) * 1024;
}

/** Largest resident memory of a process so far (VmHWM of proc_pid_status(5)); memory that it shares counts whole. */
export async function peakBytesOf(id: number): Promise<number> {
  const status = await readFile(`/proc/${id}/status`, 'utf8');
  return Number(/^VmHWM:\s+([0-9]+) kB$/m.exec(status)?.[1] ?? Number.NaN) * 1024;
}
