import { mkdir, readdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import type { BuildMeasurement } from './image-builder.ts';
import { processorSecondsOfChildren, Stopwatch } from './measure.ts';
import { withPeakMemory } from './memory.ts';

/** The same job by `virt-customize`, which boots a small machine with the image's disk, and `qemu-img convert -c`. */

export interface Libguestfs extends AsyncDisposable {
  readonly environment: Readonly<Record<string, string>>;
}

export interface LibguestfsOptions {
  /** Folder for the appliance and, where this machine has none, a kernel. */
  readonly directory: string;
  /** Whether to use KVM. Otherwise QEMU emulates: some machines have a /dev/kvm on which no machine ever starts. */
  readonly kvm: boolean;
  readonly signal: AbortSignal;
}

/**
 * Gets libguestfs ready. It makes its appliance from a kernel of this machine; containers and some virtual machines
 * have none, and Ubuntu lets only root read it, so then Debian's cloud kernel is unpacked (not installed) for it.
 */
export async function prepareLibguestfs({ directory, kvm, signal }: LibguestfsOptions): Promise<Libguestfs> {
  await mkdir(directory, { recursive: true });
  const kernels = await readdir('/lib/modules').catch(() => []);
  await using undo = new AsyncDisposableStack();
  const environment: Record<string, string> = {
    LIBGUESTFS_BACKEND: 'direct',
    LIBGUESTFS_CACHEDIR: directory,
    TMPDIR: directory,
    ...(kvm ? {} : { LIBGUESTFS_BACKEND_SETTINGS: 'force_tcg' }),
  };
  if (kernels.length === 0) {
    const version = await unpackKernel(directory, signal);
    environment.SUPERMIN_KERNEL = join(directory, 'kernel/boot', `vmlinuz-${version}`);
    environment.SUPERMIN_MODULES = join(directory, 'kernel/lib/modules', version);
    // supermin looks at this folder even when SUPERMIN_MODULES names another one.
    if ((await mkdir('/lib/modules', { recursive: true })) !== undefined) {
      // A kernel may have been installed meanwhile; then the folder is no longer ours.
      undo.defer(() => rmdir('/lib/modules').catch(() => {}));
    }
  }
  const kept = undo.move();
  return { environment, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function unpackKernel(directory: string, signal: AbortSignal): Promise<string> {
  const unpacked = join(directory, 'kernel');
  const { stdout } = await exec('apt-cache', ['depends', 'linux-image-cloud-amd64'], { signal });
  const version = /Depends: linux-image-(\S+)/.exec(stdout)?.[1];
  if (version === undefined) {
    throw new ImageBuilderError('guest.unavailable', 'libguestfs needs a kernel in /lib/modules; please install one');
  }
  await exec('apt-get', ['download', `linux-image-${version}`], { cwd: directory, signal });
  const archive = (await readdir(directory)).find((name) => name.startsWith(`linux-image-${version}_`)) ?? '';
  await exec('dpkg-deb', ['--extract', join(directory, archive), unpacked], { signal });
  await exec('depmod', ['--basedir', unpacked, version], { signal });
  return version;
}

/** Makes the appliance, which libguestfs keeps; resolves with the seconds that took. */
export async function makeAppliance(guestfs: Libguestfs, basePath: string, signal: AbortSignal): Promise<number> {
  const started = performance.now();
  await exec('virt-df', ['-a', basePath], { env: guestfs.environment, signal });
  return (performance.now() - started) / 1000;
}

export interface VirtCustomizeJob {
  readonly basePath: string;
  readonly packages: readonly string[];
  readonly ppaUrl: string;
  /** Key of the PPA, in ASCII armour. */
  readonly key: string;
  readonly series: string;
  /** Proxy on this machine's loopback address. */
  readonly proxyUrl: string;
  readonly directory: string;
  /** Other children of this process, whose memory does not count. */
  readonly bystanders: ReadonlySet<number>;
  readonly signal: AbortSignal;
}

/** Address of this machine in the machine that libguestfs boots (its QEMU user network is 169.254.0.0/16). */
const hostFromInside = '169.254.2.2';

/** Does the job; `overlayPath` keeps the changes, for the comparison of repacking. */
export async function measureVirtCustomize(
  guestfs: Libguestfs,
  job: VirtCustomizeJob,
): Promise<BuildMeasurement & { readonly overlayPath: string }> {
  const { directory, bystanders, signal } = job;
  const overlayPath = join(directory, 'virt-customize.qcow2');
  const output = join(directory, 'virt-customize-output.qcow2');
  const proxy = new URL(job.proxyUrl);
  proxy.hostname = hostFromInside;
  await writeFile(join(directory, 'proxy.conf'), `Acquire::http::Proxy "${proxy.href}";\n`);
  await writeFile(join(directory, 'key.asc'), job.key);

  const usedBefore = processorSecondsOfChildren();
  const watch = new Stopwatch();
  const { peakBytes } = await withPeakMemory({ root: process.pid, except: bystanders }, async () => {
    watch.begin('customize');
    await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', job.basePath, overlayPath], { signal });
    const install = `apt-get install -q -y --no-install-recommends ${job.packages.join(' ')}`;
    await exec(
      'virt-customize',
      [
        ...['--format', 'qcow2', '-a', overlayPath],
        ...['--mkdir', '/etc/apt/keyrings', '--upload', `${join(directory, 'key.asc')}:/etc/apt/keyrings/bench.asc`],
        '--write',
        `/etc/apt/sources.list.d/bench.list:deb [signed-by=/etc/apt/keyrings/bench.asc] ${job.ppaUrl} ${job.series} main\n`,
        ...['--upload', `${join(directory, 'proxy.conf')}:/etc/apt/apt.conf.d/99bench`],
        ...['--run-command', 'apt-get update -q'],
        ...['--run-command', `DEBIAN_FRONTEND=noninteractive ${install}`],
        ...['--run-command', 'apt-get clean; rm -rf /var/lib/apt/lists/*'],
        ...['--delete', '/etc/apt/apt.conf.d/99bench', '--truncate', '/etc/machine-id'],
      ],
      { env: guestfs.environment, signal },
    );
    watch.begin('convert');
    const convert = ['convert', '-c', '-f', 'qcow2', '-O', 'qcow2', overlayPath, output];
    await exec('qemu-img', convert, { signal });
  });
  const times = { ...watch.end(), processorSeconds: processorSecondsOfChildren() - usedBefore };
  return { ...times, peakBytes, overlayPath };
}
