import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { exec } from '#lib/exec.ts';
import { distributionSources, readAptSources, readRelease } from '../../lab/images/apt-sources.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';

export interface CdMedia {
  /** A live medium with one layer, packed by xz as Debian's live media are. */
  readonly small: string;
  /** The same with `copies` more of its files, as large as small live media that people have. */
  readonly large: string;
  readonly codename: string;
}

export const layerPath = 'live/filesystem.squashfs';
/** With these, the large medium has about 700 MiB. */
const copies = 7;
const step = 31;

const options = { signal: new AbortController().signal };

/** Makes both media of the live medium of the tests, or finds those that an earlier run has made. Needs root. */
export async function makeCdMedia(
  cacheDirectory: string,
  onLine: (line: string) => void,
  signal: AbortSignal = options.signal,
): Promise<CdMedia> {
  const { single, codename } = await makeLiveMedia(baseImageCache, onLine);
  const recipe = Buffer.concat([await readFile(new URL(import.meta.url)), Buffer.from(basename(single))]);
  const key = createHash('sha256').update(recipe).digest('hex').slice(0, 12);
  const path = (size: 'small' | 'large') => join(cacheDirectory, `cd-${size}-${key}.iso`);
  const media = { small: path('small'), large: path('large'), codename };
  // The large one is the last to be put there.
  if ((await stat(media.large).catch(() => null)) !== null) return media;
  onLine('making two media, the large one of about 700 MiB (five minutes)');
  const directory = await mkdtemp(join(cacheDirectory, 'making-cd-'));
  try {
    const run = { cwd: directory, signal };
    const unpack = ['-osirrox', 'on', '-indev', single, '-extract', `/${layerPath}`, 'layer'];
    await exec('xorriso', unpack, run);
    await exec('unsquashfs', ['-quiet', '-no-progress', '-d', 'root', 'layer'], run);
    await mkdir(join(directory, 'root/etc/apt'), { recursive: true });
    await writeFile(join(directory, 'root/etc/apt/sources.list'), await sourcesList());
    for (const size of ['small', 'large'] as const) {
      if (size === 'large') await multiplyFiles(join(directory, 'root'), signal);
      await rm(join(directory, 'layer'));
      await exec('mksquashfs', ['root', 'layer', '-comp', 'xz', '-noappend', '-quiet', '-no-progress'], run);
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

/**
 * Adds copies of all files to a file tree. In each of them, a number of its own is added to every byte: they compress as
 * the files do, and no two are the same, which mksquashfs would store once.
 */
async function multiplyFiles(root: string, signal: AbortSignal): Promise<void> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((each) => each.isFile())) {
    signal.throwIfAborted();
    const bytes = await readFile(join(entry.parentPath, entry.name));
    for (let copy = 1; copy <= copies; copy += 1) {
      const folder = join(root, 'opt/copies', String(copy), relative(root, entry.parentPath));
      await mkdir(folder, { recursive: true });
      await writeFile(
        join(folder, entry.name),
        bytes.map((byte) => byte + step * copy),
      );
    }
  }
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
