import { chmod, mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BaseImage } from '../lab/images/base-image.ts';
import { baseImageCache } from '../lab/images/cache.ts';
import { makeBaseImageAsAnyUser } from '../lab/images/rootless.ts';
import { startImageServer } from '../lab/servers/image-server.ts';
import { type Launchpad, startLaunchpad } from '../lab/servers/launchpad.ts';
import { benchPpa } from './job.ts';

/** The base image of the job, the servers that have it and its PPA, and folders. */
export interface Site extends AsyncDisposable {
  readonly image: BaseImage;
  readonly launchpad: Launchpad;
  readonly job: { readonly imageUrl: string; readonly series: string };
  /** Stays for the next run. */
  readonly cacheDirectory: string;
  /** Empty, and removed at the end. */
  readonly directory: string;
  /** Settings of builders. */
  readonly environment: Readonly<Record<string, string>>;
}

export interface SiteOptions {
  /** The checkout. */
  readonly root: string;
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
}

export async function openSite({ root, signal, onLine }: SiteOptions): Promise<Site> {
  const cache = join(root, '.cache/bench');
  await mkdir(cache, { recursive: true });
  // Several checkouts may share the folder by a link, through which the host guest opens no disk.
  const cacheDirectory = await realpath(cache);
  await using opened = new AsyncDisposableStack();
  const directory = await mkdtemp(join(cacheDirectory, 'run-'));
  opened.defer(() => rm(directory, { recursive: true, force: true }));
  // The builder of the vm guest runs as nobody.
  await chmod(directory, 0o755);
  const image = await makeBaseImageAsAnyUser({ cacheDirectory: baseImageCache, onLine, signal });
  const series = image.codename;
  const { url: imageUrl } = opened.use(await startImageServer(image.path));
  const launchpad = opened.use(await startLaunchpad({ ppas: [benchPpa(series)], directory: join(directory, 'ppa') }));
  const environment = {
    IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
    IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
    IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
  };
  const kept = opened.move();
  return {
    ...{ image, launchpad, job: { imageUrl, series }, cacheDirectory, directory, environment },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
