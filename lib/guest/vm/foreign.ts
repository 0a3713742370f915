import { mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runsOn, workerArchitecture } from '../../architecture.ts';
import { ImageBuilderError } from '../../errors.ts';
import { ExecError, exec } from '../../exec.ts';
import { makeOwnFolder } from '../../folders/private-folder.ts';
import { lock } from '../../lock.ts';
import { giveTo } from '../../unprivileged.ts';
import { openWorkerPlace } from '../../worker-place.ts';
import type { GuestProxy } from '../guest.ts';
import { readBusybox } from './initramfs.ts';
import { findKernel, kernelPackages } from './kernel.ts';
import { emulators, findMachine } from './machine.ts';
import type { VmParts, VmSettings } from './prepare.ts';
import { vmFolder } from './saved-states.ts';
import { vmScripts } from './script.ts';

/**
 * Vms for images of another architecture than the worker's. Their kernel and busybox come from the archives that the
 * worker's own apt knows, and are kept in the cache for a week.
 */

/** The architecture of the vm that runs programs of `architecture`: the worker's own where that does. */
export function vmArchitecture(architecture: string): string {
  if (runsOn(workerArchitecture, architecture)) return workerArchitecture;
  if (emulators[architecture] !== undefined) return architecture;
  const found = Object.keys(emulators).find((name) => runsOn(name, architecture));
  if (found !== undefined) return found;
  throw new ImageBuilderError('image.unsupported', `there is no vm for programs of the architecture ${architecture}`);
}

export interface ForeignOptions {
  /** An existing folder that only this build uses. */
  readonly workDirectory: string;
  /** Through which apt fetches; missing: as the worker's own configuration of apt says. */
  readonly proxy?: Pick<GuestProxy, 'url'>;
  /** Called with news for users. */
  readonly onNotice: (message: string) => void;
  readonly signal: AbortSignal;
}

const weekMs = 7 * 86_400_000;
const fetchLimitMs = 600_000;
const MiB = 2 ** 20;
const limits = ['--cpu=600', `--data=${1024 * MiB}`, `--fsize=${1024 * MiB}`, '--core=0', '--'];

/** The parts of a vm of another architecture. Throws `guest.unavailable` where one cannot be had. */
export async function prepareForeignVm(
  architecture: string,
  settings: VmSettings,
  options: ForeignOptions,
): Promise<VmParts> {
  const machine = await findMachine(architecture);
  const directory = join(settings.cacheDirectory, vmFolder);
  await makeOwnFolder(directory);
  const prefix = join(directory, `root-${architecture}-`);
  await using _held = await lock(`${prefix}lock`, { signal: options.signal });
  const times = await timesOf(directory, architecture);
  let newest = times.at(-1);
  if (newest === undefined || newest < Date.now() - weekMs) {
    try {
      const now = Date.now();
      await fetchRoot(architecture, `${prefix}${now}`, settings, options);
      newest = now;
      // Another build may still read the one before.
      for (const time of times.slice(0, -1)) await rm(`${prefix}${time}`, { recursive: true, force: true });
    } catch (error) {
      options.signal.throwIfAborted();
      if (newest === undefined || !(error instanceof ImageBuilderError)) throw error;
      options.onNotice(`the kernel of the vm for ${architecture} is an old one: ${error.message}`);
    }
  }
  const root = `${prefix}${newest}`;
  const kernel = await findKernel('', root);
  const busybox = await readBusybox(root);
  const reason = 'programs for another processor are emulated';
  return { machine, kernel, busybox, directory, accelerator: 'tcg', reason };
}

/** When the kernels of an architecture that are in the cache were fetched, in milliseconds since 1970, the newest last. */
async function timesOf(directory: string, architecture: string): Promise<number[]> {
  const beginning = `root-${architecture}-`;
  const times = (await readdir(directory)).flatMap((name) =>
    name.startsWith(beginning) ? name.slice(beginning.length) : [],
  );
  return times
    .filter((time) => /^[0-9]{13}$/.test(time))
    .map(Number)
    .sort((one, other) => one - other);
}

/** Fetches kernel and busybox into the new folder `root`. */
async function fetchRoot(
  architecture: string,
  root: string,
  { unprivilegedIds }: VmSettings,
  { workDirectory, proxy, signal }: ForeignOptions,
): Promise<void> {
  await using place = await openWorkerPlace(workDirectory, unprivilegedIds);
  await using opened = new AsyncDisposableStack();
  const home = await mkdtemp(join(workDirectory, 'kernel-'));
  opened.defer(() => rm(home, { recursive: true, force: true }));
  await writeFile(join(home, 'apt.conf'), renderConfiguration(home, architecture, proxy), { mode: 0o600 });
  await place.give(home);
  const wanted = kernelPackages[architecture] ?? 'linux-image-generic';
  const command = ['sh', '-c', vmScripts['fetch-kernel'], 'fetch-kernel', wanted];
  await exec('prlimit', [...limits, ...command], {
    ...{ user: place.user, cwd: home, env: { APT_CONFIG: join(home, 'apt.conf') }, signal, timeoutMs: fetchLimitMs },
  }).catch((error: unknown) => {
    if (!(error instanceof ExecError)) throw error;
    const why = error.logTail.at(-1) ?? error.message;
    const message = `the vm needs a kernel and a busybox for ${architecture}, which apt cannot fetch: ${why}`;
    throw new ImageBuilderError('guest.unavailable', message, { cause: error, logTail: error.logTail });
  });
  // The files must not change any more.
  await place.end();
  const unpacked = join(home, 'root');
  await takeBack(unpacked);
  await rename(unpacked, root);
}

async function takeBack(path: string): Promise<void> {
  const own = process.geteuid?.() ?? 0;
  if (own === 0) await giveTo({ id: 0, groups: [] }, path);
}

/** The sources, keys and credentials stay the worker's. With a proxy, so much of its configuration does not count. */
function renderConfiguration(home: string, architecture: string, proxy: ForeignOptions['proxy']): string {
  const { href = null } = proxy === undefined ? {} : new URL(proxy.url);
  return `${[
    `Dir::State "${home}/state";`,
    `Dir::State::status "${home}/state/status";`,
    `Dir::Cache "${home}/cache";`,
    `Dir::Log "${home}/log";`,
    `APT::Architecture "${architecture}";`,
    `APT::Architectures { "${architecture}"; };`,
    'APT::Sandbox::User "";',
    'Acquire::Languages "none";',
    ...(href === null
      ? []
      : [
          ...['Dir::Etc::main "none";', `Dir::Etc::parts "${home}/none.d";`],
          ...[`Acquire::http::Proxy "${href}";`, `Acquire::https::Proxy "${href}";`],
        ]),
  ].join('\n')}\n`;
}
