import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { formatBytes } from '#lib/text.ts';
import { distributionSources, readAptSources, readRelease } from '../../lab/images/apt-sources.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';

export interface CdMedia {
  /** A live medium with one layer, packed by xz as Debian's live media are. */
  readonly small: string;
  /** The same with one file more in the layer, of `paddingBytes` bytes that no compressor makes smaller. */
  readonly large: string;
  readonly codename: string;
}

export const layerPath = 'live/filesystem.squashfs';
export const paddingBytes = 2 ** 30;

const options = { signal: new AbortController().signal };

/** Makes both media of the live medium of the tests, or finds those that an earlier run has made. Needs root. */
export async function makeCdMedia(
  cacheDirectory: string,
  onLine: (line: string) => void,
  signal: AbortSignal = options.signal,
): Promise<CdMedia> {
  const { single, codename } = await makeLiveMedia(baseImageCache, onLine);
  const recipe = Buffer.concat([await readFile(new URL(import.meta.url)), Buffer.from(single)]);
  const key = createHash('sha256').update(recipe).digest('hex').slice(0, 12);
  const path = (size: 'small' | 'large') => join(cacheDirectory, `cd-${size}-${key}.iso`);
  const media = { small: path('small'), large: path('large'), codename };
  // The large one is the last to be put there.
  if ((await stat(media.large).catch(() => null)) !== null) return media;
  onLine(`making two media of ${formatBytes(paddingBytes)} more and less (two minutes)`);
  const directory = await mkdtemp(join(cacheDirectory, 'making-cd-'));
  try {
    const run = { cwd: directory, signal };
    const unpack = ['-osirrox', 'on', '-indev', single, '-extract', `/${layerPath}`, 'layer'];
    await exec('xorriso', unpack, run);
    await exec('unsquashfs', ['-quiet', '-no-progress', '-d', 'root', 'layer'], run);
    await mkdir(join(directory, 'root/etc/apt'), { recursive: true });
    await writeFile(join(directory, 'root/etc/apt/sources.list'), await sourcesList());
    for (const size of ['small', 'large'] as const) {
      if (size === 'large') await writePadding(join(directory, 'root/opt/padding'));
      await rm(join(directory, 'layer'));
      // Blocks of xz data that would not be smaller are stored as they are; so this need not try.
      const kept = ['-action', 'uncompressed()@pathname(/opt/padding)'];
      const packing = ['-comp', 'xz', '-noappend', '-quiet', '-no-progress', ...kept];
      await exec('mksquashfs', ['root', 'layer', ...packing], run);
      await replaceLayer(single, join(directory, 'medium'), run);
      await rename(join(directory, 'medium'), media[size]);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return media;
}

async function sourcesList(): Promise<string> {
  const release = await readRelease();
  const sources = distributionSources(await readAptSources(), release);
  const keyring = `/usr/share/keyrings/${release.distribution}-archive-keyring.gpg`;
  const lines = sources.map(
    (each) => `deb [signed-by=${keyring}] ${each.uri} ${each.suite} ${each.components.join(' ')}`,
  );
  return `${lines.join('\n')}\n`;
}

async function writePadding(path: string): Promise<void> {
  await exec('sh', ['-c', 'exec head --bytes="$1" /dev/urandom >"$0"', path, String(paddingBytes)]);
}

async function replaceLayer(base: string, output: string, run: { cwd: string; signal: AbortSignal }): Promise<void> {
  await exec(
    'xorriso',
    [
      ...['-indev', base, '-outdev', output, '-joliet', 'on', '-boot_image', 'any', 'replay'],
      ...['-compliance', 'no_emul_toc:joliet_long_names', '-padding', 'included', '-map', 'layer', `/${layerPath}`],
    ],
    run,
  );
}
