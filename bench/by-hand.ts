import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { type BuildTimes, processorSecondsOfChildren, Stopwatch } from './measure.ts';
import { withPeakMemory } from './memory.ts';

/** The job as people do it by hand, as root: the parts that all kinds of images have. */

export interface HandJob {
  readonly basePath: string;
  readonly packages: readonly string[];
  /** Line of sources.list for the PPA, whose key is /etc/apt/keyrings/bench.asc. */
  readonly source: string;
  /** Key of the PPA, in ASCII armour. */
  readonly key: string;
  readonly proxyUrl: string;
  /** Only for this job. */
  readonly directory: string;
  /** Other children of this process, whose memory does not count. */
  readonly bystanders: ReadonlySet<number>;
  readonly signal: AbortSignal;
}

export type HandMeasurement = BuildTimes & { readonly peakBytes: number };

/** Runs the work in an empty folder, which is removed at the end. The work begins its steps on the watch. */
export async function measureByHand(
  { directory, bystanders }: Pick<HandJob, 'directory' | 'bystanders'>,
  work: (place: string, watch: Stopwatch) => Promise<void>,
): Promise<HandMeasurement> {
  const place = join(directory, 'by-hand');
  await rm(place, { recursive: true, force: true });
  await mkdir(place);
  const usedBefore = processorSecondsOfChildren();
  const watch = new Stopwatch();
  const { peakBytes } = await withPeakMemory({ root: process.pid, except: bystanders }, () => work(place, watch));
  const measured = { ...watch.end(), processorSeconds: processorSecondsOfChildren() - usedBefore, peakBytes };
  await rm(place, { recursive: true });
  return measured;
}

/** Runs $2 in the root file system $1, with apt reading the proxy's configuration and no service being started. */
const inChroot = `
root=$1
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
printf '#!/bin/sh\\nexit 101\\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
chroot "$root" sh -euc "$2"
rm "$root/usr/sbin/policy-rc.d" "$root/etc/apt/apt.conf.d/99bench"
`;

/** Installs the packages in the folder of a root file system. `entering` are words that run a command in namespaces. */
export async function installInChroot(root: string, job: HandJob, entering: readonly string[] = []): Promise<void> {
  await mkdir(join(root, 'etc/apt/keyrings'), { recursive: true });
  await writeFile(join(root, 'etc/apt/keyrings/bench.asc'), job.key);
  await writeFile(join(root, 'etc/apt/sources.list.d/bench.list'), `${job.source}\n`);
  await writeFile(join(root, 'etc/apt/apt.conf.d/99bench'), `Acquire::http::Proxy "${job.proxyUrl}";\n`);
  const wanted = job.packages.join(' ');
  const install = `DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ${wanted}`;
  const inside = `apt-get update -q; ${install}; apt-get clean; rm -rf /var/lib/apt/lists/*`;
  const chroot = ['unshare', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-euc', inChroot, 'sh', root, inside];
  const [program = '', ...words] = [...entering, ...chroot];
  await exec(program, words, { signal: job.signal });
}
