import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { type HandJob, type HandMeasurement, installInChroot, measureByHand } from '../by-hand.ts';
import { layerPath } from './media.ts';

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

/** Everything is taken out of the medium, the packages are installed in a chroot, and all of it is packed again. */
export async function rebuildMediumByHand(job: HandJob): Promise<HandMeasurement> {
  const { basePath, signal } = job;
  const shell = async (script: string, ...words: string[]) => {
    await exec('sh', ['-euc', script, 'sh', ...words], { signal });
  };
  return await measureByHand(job, async (place, watch) => {
    const [medium, root, output] = [join(place, 'medium'), join(place, 'root'), join(place, 'output.iso')];
    const layer = join(medium, layerPath);
    watch.begin('xorriso -extract');
    await exec('xorriso', ['-osirrox', 'on', '-indev', basePath, '-extract', '/', medium], { signal });
    await exec('chmod', ['-R', 'u+w', medium], { signal });
    watch.begin('unsquashfs');
    await exec('unsquashfs', ['-quiet', '-no-progress', '-d', root, layer], { signal });
    watch.begin('apt in a chroot');
    await installInChroot(root, job);
    watch.begin('mksquashfs -comp xz');
    await rm(layer);
    await exec('mksquashfs', [root, layer, '-comp', 'xz', '-noappend', '-quiet', '-no-progress'], { signal });
    watch.begin('lists and md5sum.txt');
    await shell(lists, medium, root);
    watch.begin('xorriso -as mkisofs');
    await shell(master, basePath, output, medium);
  });
}
