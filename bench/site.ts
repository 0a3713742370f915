import { chmod, mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { baseImageCache } from '../lab/images/cache.ts';
import { makeBaseImageAsAnyUser } from '../lab/images/rootless.ts';
import { startImageServer } from '../lab/servers/image-server.ts';
import { type Launchpad, startLaunchpad } from '../lab/servers/launchpad.ts';
import { benchPpa, type Job } from './job.ts';

/** The server of the PPA, and folders. */
export interface Place extends AsyncDisposable {
  readonly launchpad: Launchpad;
  /** Stays for the next run. */
  readonly cacheDirectory: string;
  /** Empty, and removed at the end. */
  readonly directory: string;
  /** Settings of builders. */
  readonly environment: Readonly<Record<string, string>>;
}

/** A place with the base image of the job, and the server that has it. */
export interface Site extends Place {
  readonly image: { readonly path: string; readonly sizeBytes: number };
  readonly job: Job;
}

export interface SiteOptions {
  /** The checkout. */
  readonly root: string;
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
}

/** A place for builds of images of this series. */
export async function openPlace({ root }: Pick<SiteOptions, 'root'>, series: string): Promise<Place> {
  const cacheDirectory = await benchCache(root);
  await using opened = new AsyncDisposableStack();
  const directory = await mkdtemp(join(cacheDirectory, 'run-'));
  opened.defer(() => rm(directory, { recursive: true, force: true }));
  // The builder of the vm guest runs as nobody.
  await chmod(directory, 0o755);
  const launchpad = opened.use(await startLaunchpad({ ppas: [benchPpa(series)], directory: join(directory, 'ppa') }));
  const environment = {
    IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
    IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
    IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
  };
  const kept = opened.move();
  return { launchpad, cacheDirectory, directory, environment, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Makes the folder that stays for the next run. */
export async function benchCache(root: string): Promise<string> {
  const cache = join(root, '.cache/bench');
  await mkdir(cache, { recursive: true });
  // Several checkouts may share the folder by a link, through which the host guest opens no disk.
  return await realpath(cache);
}

export async function openSite({ root, signal, onLine }: SiteOptions): Promise<Site> {
  const image = await makeBaseImageAsAnyUser({ cacheDirectory: baseImageCache, onLine, signal });
  await using opened = new AsyncDisposableStack();
  const place = opened.use(await openPlace({ root }, image.codename));
  const { url: imageUrl } = opened.use(await startImageServer(image.path));
  const kept = opened.move();
  const job = { kind: 'cloud', imageUrl, series: image.codename } as const;
  return { ...place, image, job, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
