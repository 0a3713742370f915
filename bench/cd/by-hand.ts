import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { type BuildTimes, processorSecondsOfChildren, Stopwatch } from '../measure.ts';
import { withPeakMemory } from '../memory.ts';
import { layerPath } from './media.ts';

export interface HandJob {
  readonly mediumPath: string;
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

const lists = `
cd "$1"
format='\${Package}\\t\${Version}\\n'
dpkg-query --admindir="$2/var/lib/dpkg" --show --showformat="$format" >live/filesystem.packages
du --block-size=1 --summarize "$2" | cut -f 1 >live/filesystem.size
find . -type f ! -name eltorito.img ! -name boot.catalog ! -name md5sum.txt -print0 | LC_ALL=C sort -z | xargs -0 md5sum >md5sum.txt
`;

/** The words of xorriso that give the new medium the boot equipment of the old one, and the new medium. */
const master = `
words=$(xorriso -indev "$1" -report_el_torito as_mkisofs 2>/dev/null | tr '\\n' ' ')
eval "exec xorriso -as mkisofs -quiet $words -r -J -joliet-long -iso-level 3 -o \\"\\$2\\" \\"\\$3\\""
`;

/**
 * The job as people do it by hand, as root: everything is taken out of the medium, the packages are installed in a chroot,
 * and all of it is packed again.
 */
export async function measureByHand(job: HandJob): Promise<HandMeasurement> {
  const { mediumPath, packages, bystanders, signal } = job;
  const place = join(job.directory, 'by-hand');
  await rm(place, { recursive: true, force: true });
  await mkdir(place);
  const [medium, root, output] = [join(place, 'medium'), join(place, 'root'), join(place, 'output.iso')];
  const layer = join(medium, layerPath);
  const shell = async (script: string, ...words: string[]) => {
    await exec('sh', ['-euc', script, 'sh', ...words], { signal });
  };
  const usedBefore = processorSecondsOfChildren();
  const watch = new Stopwatch();
  const { peakBytes } = await withPeakMemory({ root: process.pid, except: bystanders }, async () => {
    watch.begin('xorriso -extract');
    await exec('xorriso', ['-osirrox', 'on', '-indev', mediumPath, '-extract', '/', medium], { signal });
    await exec('chmod', ['-R', 'u+w', medium], { signal });
    watch.begin('unsquashfs');
    await exec('unsquashfs', ['-quiet', '-no-progress', '-d', root, layer], { signal });
    watch.begin('apt in a chroot');
    await mkdir(join(root, 'etc/apt/keyrings'), { recursive: true });
    await writeFile(join(root, 'etc/apt/keyrings/bench.asc'), job.key);
    await writeFile(join(root, 'etc/apt/sources.list.d/bench.list'), `${job.source}\n`);
    await writeFile(join(root, 'etc/apt/apt.conf.d/99bench'), `Acquire::http::Proxy "${job.proxyUrl}";\n`);
    const install = `DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ${packages.join(' ')}`;
    const inside = `apt-get update -q; ${install}; apt-get clean; rm -rf /var/lib/apt/lists/*`;
    const chroot = ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-euc', inChroot, 'sh', root, inside];
    await exec('unshare', chroot, { signal });
    watch.begin('mksquashfs -comp xz');
    await rm(layer);
    await exec('mksquashfs', [root, layer, '-comp', 'xz', '-noappend', '-quiet', '-no-progress'], { signal });
    watch.begin('lists and md5sum.txt');
    await shell(lists, medium, root);
    watch.begin('xorriso -as mkisofs');
    await shell(master, mediumPath, output, medium);
  });
  const measured = { ...watch.end(), processorSeconds: processorSecondsOfChildren() - usedBefore, peakBytes };
  await rm(place, { recursive: true });
  return measured;
}
