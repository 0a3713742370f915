import { rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { makeLiveMedia } from '../lab/images/live-media.ts';
import { makeBaseImageAsAnyUser } from '../lab/images/rootless.ts';
import { makeTouchBase } from '../lab/images/touch-base.ts';

/** The base images that the quickstart makes of this machine's own release. */

export type ImageType = 'cloud' | 'cd' | 'touch';

export interface MadeBase {
  readonly path: string;
  readonly series: string;
  /** For users: whether it was made now or earlier. */
  readonly origin: string;
}

export interface MakeBaseOptions {
  readonly cacheDirectory: string;
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Makes a base image, or finds that of this week. Throws ImageBuilderError, among others where only root can make it. */
export async function makeBase(type: ImageType, options: MakeBaseOptions): Promise<MadeBase> {
  const { cacheDirectory, onLine } = options;
  if (type === 'cloud') {
    const { path, codename, made } = await makeBaseImageAsAnyUser(options);
    return { path, series: codename, origin: made ? 'made now' : 'made earlier this week' };
  }
  if (process.geteuid?.() !== 0) {
    const message = `only root can make ${nouns[type]} here; others name one with --base-image and --series`;
    throw new ImageBuilderError('internal', message);
  }
  if (type === 'cd') {
    const { single, codename } = await makeLiveMedia(cacheDirectory, onLine);
    return { path: single, series: codename, origin: 'made this week' };
  }
  const { path, codename } = await makeTouchBase(cacheDirectory, 'armhf', onLine);
  return { path: await packed(path, options), series: codename, origin: 'made this week' };
}

const nouns = { cd: 'a live medium', touch: 'a root file system' } as const;

/** The archive in the form in which touch images are published. */
async function packed(path: string, { cacheDirectory, signal }: MakeBaseOptions): Promise<string> {
  const result = `${path}.gz`;
  const made = await stat(result).catch(() => null);
  if (made !== null && made.mtimeMs >= (await stat(path)).mtimeMs) return result;
  const unfinished = join(cacheDirectory, `touch-packed-${process.pid}`);
  await exec('sh', ['-c', 'gzip --no-name --stdout "$1" > "$2"', 'sh', path, unfinished], { signal });
  await rename(unfinished, result);
  return result;
}
