import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ArtifactReport } from '#lib/api/artifact-report.ts';
import type { CdChoice } from '#lib/api/base-image.ts';
import type { BuildEvent } from '#lib/api/event.ts';
import type { ImageResult } from '#lib/api/image-result.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { loadConfig } from '#lib/config/load.ts';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { chooseGuest } from '#lib/guest/choose.ts';
import { createHttpClient } from '#lib/http/client.ts';
import { createEgress } from '#lib/http/egress.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import { createLog } from '#lib/log.ts';
import type { OpenPgpKey } from '#lib/openpgp/signing-key.ts';
import { runBuild } from '#lib/pipeline/run-build.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import { startReporter } from '#lib/worker/reporter.ts';
import { type BaseImageVariant, makeBaseImage } from '../../lab/images/base-image.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import {
  type Launchpad,
  type LoggedRequest,
  type PackageRecipe,
  type PpaRecipe,
  startLaunchpad,
} from '../../lab/servers/launchpad.ts';

/** Whole builds of a real base image by either guest, without RabbitMQ and functions. */
export interface GuestBuilds extends AsyncDisposable {
  /** A folder for these tests only, whose path no image may know. */
  readonly directory: string;
  /** Where the PPA is. */
  readonly ppaUrl: string;
  /** Publishes the PPA anew with these packages, and with a fault of its own where one is named. */
  republish(packages: readonly PackageRecipe[], flaw?: PpaRecipe['flaw']): Promise<void>;
  /** Lets the server of the PPA fail, or work again. */
  readonly fault: Launchpad['fault'];
  /** Paths that the server of the PPA was asked for. */
  readonly requests: readonly LoggedRequest[];
  /** Builds an image with packages of the PPA and of the distribution. Nothing may be left, whether that fails or not. */
  build(guest: 'host' | 'vm', packages: readonly string[], options?: GuestBuildOptions): Promise<BuiltImage>;
}

export interface GuestBuildOptions {
  /** For CD images. */
  readonly cd?: CdChoice;
  /** `ticket_id` of the request; default `alike`. */
  readonly ticket?: string;
  /** `reuse` of the request; default true. */
  readonly reuse?: boolean;
  /** Default: none. */
  readonly caller?: string;
  /** `boot_check` of the request; default false. */
  readonly bootCheck?: boolean;
  readonly signal?: AbortSignal;
  /** Further settings. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Called with each line of the log, and the step that it comes in. */
  readonly onLine?: (line: string, step: string | null) => void;
}

export interface BuiltImage {
  readonly path: string;
  readonly image: ImageResult;
  readonly artifacts: readonly ArtifactReport[];
  readonly events: readonly BuildEvent[];
}

/** A base image that is there already. */
export interface GivenBase {
  readonly imageType: 'cloud' | 'cd' | 'touch';
  readonly path: string;
  readonly codename: string;
}

/** The release that a base image belongs to, and the key that signs its images. */
export interface ReleaseOptions {
  /** Files beside the base image, by their names. Default: none. */
  readonly others?: Readonly<Record<string, Buffer>>;
  /** Default: none; images have no signatures. */
  readonly imageKey?: OpenPgpKey;
}

/** `packages` are those of the PPA `ppa:project/odd`; `change` alters the base image, and returns the path of its own. */
export async function openGuestBuilds(
  variant: BaseImageVariant | GivenBase,
  packages: readonly PackageRecipe[],
  change: (path: string, directory: string) => Promise<string> = async (path) => path,
  { others = {}, imageKey }: ReleaseOptions = {},
): Promise<GuestBuilds> {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-builds-'));
  // As /var/lib is: tools that run as other users get to the work directory.
  await chmod(directory, 0o711);
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const log = createLog({ level: 'error' });
  const unstopped = new AbortController().signal;
  const base = typeof variant === 'string' ? await makeBaseImage({ cacheDirectory: baseImageCache, variant }) : variant;
  const imageType = 'imageType' in base ? base.imageType : 'cloud';
  const series = base.codename;
  const images = stack.use(await startImageServer(await change(base.path, directory), others));
  const launchpad = stack.use(
    await startLaunchpad({ ppas: [{ owner: 'project', name: 'odd', series: [series], packages }] }),
  );
  const client = stack.use(
    createHttpClient({
      egress: createEgress({ allowLoopback: true, allowedHosts: [] }),
      connectTimeoutMs: 60_000,
      stallTimeoutMs: 60_000,
      userAgent: 'imagebuilder-test',
    }),
  );
  const cacheDirectory = join(directory, 'cache');
  await mkdir(cacheDirectory);
  const aptCache = await createAptCache({ client, cacheDirectory, cacheBytes: 2 ** 30 });
  const urls = [...Object.keys(others).map((name) => new URL(name, images.url).href), images.url];
  const opened = stack.move();
  const provenanceKey = generateKeyPairSync('ed25519').privateKey;
  return {
    directory,
    ppaUrl: launchpad.ppaUrl,
    ...{ requests: launchpad.requests, fault: launchpad.fault },
    republish: (anew, flaw) =>
      launchpad.republish({
        ...{ owner: 'project', name: 'odd', series: [series], packages: anew },
        ...(flaw === undefined ? {} : { flaw }),
      }),
    async build(guest, wanted, options = {}) {
      const { cd, bootCheck = false, signal = unstopped, onLine, environment = {} } = options;
      const { ticket = 'alike', reuse = true, caller = null } = options;
      const request = parseBuildRequest({
        ticket_id: ticket,
        base_image: { image_type: imageType, url_list: urls, series, ...(cd === undefined ? {} : { cd }) },
        ppa_list: ['ppa:project/odd'],
        package_list: wanted,
        boot_check: bootCheck,
        reuse,
        progress_trigger: 'alike',
      });
      const config = loadConfig({
        IMAGEBUILDER_XZ_PRESET: '0',
        IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
        IMAGEBUILDER_CACHE_DIRECTORY: cacheDirectory,
        IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
        IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
        IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
        IMAGEBUILDER_GUEST: guest,
        // Tests that build the same twice look at what the second build does.
        IMAGEBUILDER_FINISHED_CACHE_SIZE: '0',
        IMAGEBUILDER_LAYERS_CACHE_SIZE: '0',
        ...environment,
      });
      const { folders, image: imageSettings, limits, packages: packageSettings, verification } = config;
      const settings = {
        ...folders,
        ...imageSettings,
        ...limits,
        ...packageSettings,
        ...config.tools,
        ...verification,
        ...config.provenance,
        vmNetwork: config.guest.vmNetwork,
        provenanceKey,
        imageKey: imageKey ?? null,
      };
      const guestSettings = { ...settings, ...config.guest };
      await mkdir(settings.workDirectory, { recursive: true });
      const before = await observe(settings.workDirectory);
      const chosen = await chooseGuest({
        ...{ setting: guest, directory: settings.workDirectory, vm: guestSettings, host: guestSettings, log },
      });
      const buildId = randomUUID();
      const events: BuildEvent[] = [];
      await using reporter = startReporter({
        identity: { build_id: buildId, ticket_id: ticket, progress_trigger: 'alike', attempt: 1, worker: 'alike' },
        steps: imageKinds[imageType].steps,
        firstSequence: 0,
        publish: async (event) => {
          events.push(event);
          return true;
        },
        heartbeatMs: 600_000,
        ...(onLine === undefined ? {} : { onLine }),
      });
      const tools = {
        ...{ client, aptCache, settings },
        chooseGuest: async () => chosen,
        storeFor: () => createFileStore(settings.storeDirectory),
      };
      const running = runBuild({ caller, buildId, request }, tools, { signal, reporter, log });
      await running.catch(() => undefined);
      await assertNothingLeft(before, { emptyFolders: [settings.workDirectory] });
      const { image, artifacts } = await running;
      return { path: fileURLToPath(image.location), image, artifacts, events };
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
