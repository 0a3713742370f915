import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fleet, leaseSeconds } from '../lab/fleet/fleet.ts';
import { processesIn } from '../lab/fleet/processes.ts';
import type { FunctionProcess } from '../lab/servers/function.ts';
import type { Callers } from './callers.ts';
import { type FaultKind, type PlannedFault, submitters } from './plan.ts';

/** Injects the faults of a plan. */
export interface Injector {
  /** Resolves when the fault is over; false where there was nothing to hit. */
  inject(fault: PlannedFault): Promise<boolean>;
  /** Faults in the service that the injected faults have shown, such as a worker that does not stop on SIGTERM. */
  readonly violations: readonly string[];
}

export interface InjectorOptions {
  readonly fleet: Fleet;
  readonly callers: Callers;
  readonly startWorker: () => Promise<FunctionProcess>;
}

/** Longest wait for a process of a kind to appear. */
const appearsMs = 5_000;
/** faas-netes gives a pod 30 seconds by default. */
const stopLimitMs = 30_000;

export function createInjector({ fleet, callers, startWorker }: InjectorOptions): Injector {
  const violations: string[] = [];
  /** Faults that would undo each other wait for each other. */
  const lines = new Map<string, Promise<unknown>>();
  const inLine = async <Result>(line: string, work: () => Promise<Result>): Promise<Result> => {
    const before = lines.get(line);
    const mine = (async () => {
      await before?.catch(() => {});
      return await work();
    })();
    lines.set(line, mine);
    return await mine;
  };

  const pickWorker = ({ pick }: PlannedFault) => {
    const workers = fleet.workers();
    return workers[Math.floor(pick * workers.length)];
  };
  /** Ends a worker and, after a while, starts another one in its place. */
  const replaceWorker = async (fault: PlannedFault, end: (worker: FunctionProcess) => Promise<void>) => {
    const worker = pickWorker(fault);
    if (worker === undefined) return false;
    await end(worker);
    await worker.exited;
    await sleep(fault.lastsMs);
    await startWorker();
    return true;
  };
  const killProcess = async ({ pick }: PlannedFault, command: RegExp) => {
    for (const end = Date.now() + appearsMs; Date.now() < end; await sleep(50)) {
      const found = (await processesIn(fleet.workDirectory)).filter((process) => command.test(process.command));
      const chosen = found[Math.floor(pick * found.length)];
      if (chosen !== undefined) return signal(chosen.id, 'SIGKILL');
    }
    return false;
  };
  /** Breaks something for a while, and mends it again whatever happens meanwhile. */
  const forAWhile = async (
    { lastsMs }: PlannedFault,
    begin: () => Promise<void> | void,
    end: () => Promise<void> | void,
  ) => {
    try {
      await begin();
      await sleep(lastsMs);
    } finally {
      await end();
    }
    return true;
  };
  const images = (fault: PlannedFault, begin: () => void, end: () => void) =>
    inLine('images', () => forAWhile(fault, begin, end));
  const ppa = (fault: PlannedFault, what: Parameters<Fleet['launchpad']['fault']>[1]) =>
    inLine('ppa', () =>
      forAWhile(
        fault,
        () => fleet.launchpad.fault(/./, what),
        () => fleet.launchpad.fault(/./, null),
      ),
    );

  const kinds: Readonly<Record<FaultKind, (fault: PlannedFault) => Promise<boolean>>> = {
    'worker killed': (fault) => replaceWorker(fault, async ({ child }) => void child.kill('SIGKILL')),
    'worker killed with everything that it had started': (fault) =>
      replaceWorker(fault, async ({ child }) => {
        for (const id of [child.pid ?? 0, ...(await descendants(child.pid ?? 0))]) signal(id, 'SIGKILL');
      }),
    'worker told to stop': (fault) =>
      replaceWorker(fault, async (worker) => {
        worker.child.kill('SIGTERM');
        const code = await Promise.race([worker.exited, sleep(stopLimitMs, 'late' as const, { ref: false })]);
        if (code === 0 || worker.child.signalCode === 'SIGKILL') return;
        violations.push(`a worker told to stop ended ${code === 'late' ? 'late' : `with ${code}`}`);
        worker.child.kill('SIGKILL');
      }),
    'worker frozen for longer than a lease': async (fault) => {
      const worker = pickWorker(fault);
      if (worker === undefined) return false;
      worker.child.kill('SIGSTOP');
      await sleep(leaseSeconds * 1000 + fault.lastsMs);
      worker.child.kill('SIGCONT');
      return true;
    },
    'supervisor killed': (fault) => killProcess(fault, /supervisor\.js.*\/guest\//),
    'storage daemon killed': (fault) => killProcess(fault, /^qemu-storage-daemon /),
    'apt killed': (fault) => killProcess(fault, /^apt-get /),
    'build-image killed': () =>
      inLine('build-image', async () => {
        await fleet.restartBuildImage();
        return true;
      }),
    'RabbitMQ restarted': () => broker(() => fleet.rabbitMq.restart()),
    'RabbitMQ killed': (fault) =>
      broker(async () => {
        await fleet.rabbitMq.stop({ kill: true });
        await sleep(fault.lastsMs);
        await fleet.rabbitMq.start();
      }),
    'connections closed': () => broker(() => fleet.rabbitMq.closeAllConnections()),
    'memory alarm': (fault) =>
      broker(async () => {
        const watermark = (value: string) =>
          fleet.rabbitMq.control(['set_vm_memory_high_watermark', 'absolute', value]);
        await watermark('1');
        await sleep(fault.lastsMs);
        await watermark('512MB');
      }),
    'image server stalls': (fault) => images(fault, fleet.images.hold, fleet.images.release),
    'image server cuts': (fault) =>
      images(
        fault,
        () => fleet.images.fault('cut'),
        () => fleet.images.fault(null),
      ),
    'image server answers 503': (fault) =>
      images(
        fault,
        () => fleet.images.fault({ status: 503 }),
        () => fleet.images.fault(null),
      ),
    'PPA answers 503': (fault) => ppa(fault, { kind: 'status', status: 503 }),
    'PPA stalls': (fault) => ppa(fault, { kind: 'stall' }),
    'PPA cuts': (fault) => ppa(fault, { kind: 'cut', afterBytes: 100 }),
    'exchange absent': (fault) => {
      const index = Math.floor(fault.pick * submitters);
      return broker(async () => {
        await callers.setExchange(index, false);
        await sleep(fault.lastsMs);
        await callers.setExchange(index, true);
      });
    },
    'callbacks refused': (fault) =>
      inLine('callbacks', () =>
        forAWhile(
          fault,
          () => callers.refuseCallbacks(true),
          () => callers.refuseCallbacks(false),
        ),
      ),
  };
  const broker = (work: () => Promise<void>) =>
    inLine('broker', async () => {
      await work();
      return true;
    });
  return { inject: (fault) => kinds[fault.kind](fault), violations };
}

/** Ids of all descendants of `id`. */
async function descendants(id: number): Promise<number[]> {
  const children = await readFile(`/proc/${id}/task/${id}/children`, 'utf8').catch(() => '');
  const found: number[] = [];
  for (const child of children.split(' ').filter((text) => text !== '')) {
    found.push(Number(child), ...(await descendants(Number(child))));
  }
  return found;
}

function signal(id: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(id, name);
  } catch {
    return false;
  }
}
