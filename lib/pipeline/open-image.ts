import { join } from 'node:path';
import { type AptCaches, openAptCaches } from '../apt/caches.ts';
import { assertArchitecture, assertSeries, type ImageFacts, readImageFacts } from '../apt/facts.ts';
import { together } from '../async.ts';
import { collectBootFiles, hasBootChanged } from '../boot/probe.ts';
import { type AptProxy, startAptProxy } from '../fetch/apt-proxy.ts';
import type { BaseImage } from '../fetch/base-image.ts';
import { assertHiddenUntouched } from '../guest/closed-mounts.ts';
import { readFindings } from '../guest/findings.ts';
import type { Guest, GuestDisk, GuestSession } from '../guest/guest.ts';
import { type OwnFiles, readOwnFiles } from '../guest/own-files.ts';
import { beforeChange, pristineOf, sealImage, sealWarnings } from '../guest/seal.ts';
import { shownChanges } from '../guest/stack.ts';
import type { TouchedFiles } from '../guest/touched-files.ts';
import type { ImageKind } from '../kinds/kind.ts';
import { type Licences, readLicences } from '../manifest/licences.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import type { KnownBase } from './layer-store.ts';

/** An image that a guest has opened, with the proxy and the caches that apt uses in it. */
export interface OpenImage extends AsyncDisposable {
  readonly session: GuestSession;
  /** News for the result, in words: mount points that stay closed, though its own boot opens them; what `seal` finds. */
  readonly warnings: readonly string[];
  /** Adds a warning, unless it is there, and reports it. */
  warn(message: string): void;
  /** The folders that hold all changes, as in `FinalLook`. */
  readonly folders: readonly string[];
  /** The facts before the change. */
  readonly facts: ImageFacts;
  /** The lines of the state that `seal` restores. */
  readonly pristine: string;
  readonly proxy: AptProxy;
  readonly caches: AptCaches;
  /** Keeps a resource that works on the image, to be disposed before the image is closed. */
  use<Resource extends AsyncDisposable>(resource: Resource): Resource;
  /**
   * Cleans up inside, and closes the image: afterwards its disk holds every change, and no process has it open. `always`
   * asks for `bootFiles` even where these have not changed.
   */
  seal(always: boolean): Promise<SealedImage>;
  /** Closes the image as it is, for builds that go on from there. */
  suspend(): Promise<void>;
}

/** An image that is cleaned up and closed. Files are in the work directory. */
export interface SealedImage {
  /** Path of the files that it boots by; null where these have not changed. */
  readonly bootFiles: string | null;
  /** The files that the build has touched; null where the tools of the image could not list them. */
  readonly touched: TouchedFiles | null;
  /** Null where they could not list them. */
  readonly own: OwnFiles | null;
  /** The licences of its packages. */
  readonly licences: Licences;
}

export interface OpenImageOptions {
  readonly disk: GuestDisk;
  /** The guest, or its prepared form. */
  readonly opener: Pick<Guest, 'open'>;
  readonly base: BaseImage;
  /** The series that the image must be of. */
  readonly series: string;
  readonly kind: Pick<ImageKind, 'architectures' | 'sealParts'>;
  /** Findings of earlier builds about the base image. Default: none. */
  readonly known?: Pick<KnownBase, 'facts' | 'pristine'> | undefined;
  /** The second in which an earlier build has begun the changes that the disk has; missing where it has none. */
  readonly changedSince?: number | undefined;
  /** The proxy of a build that has one already; it is not disposed with the image. */
  readonly proxy?: AptProxy | undefined;
  /** As in `GuestOptions`. */
  readonly onMeasured?: (() => void) | undefined;
}

/** Share of the apt cache's size that package lists may take; packages get the rest. */
export const listsShare = 0.2;

/**
 * Opens the image and reads its facts. Throws `image.series` where it is of another series, and `image.unsupported` where
 * it is of another architecture.
 */
export async function openImage(
  { disk, opener, base, series, kind, known, changedSince, onMeasured, ...given }: OpenImageOptions,
  { client, aptCache, settings }: BuildTools,
  { signal, reporter, output }: LimitedContext,
): Promise<OpenImage> {
  await using stack = new AsyncDisposableStack();
  const proxy = given.proxy ?? stack.use(await startAptProxy({ client, cache: aptCache, signal }));
  const caches = stack.use(
    await openAptCaches({
      cacheDirectory: settings.cacheDirectory,
      cacheBytes: settings.aptCacheBytes * listsShare,
      baseImageSha256: base.sha256,
      workDirectory: disk.workDirectory,
      signal,
    }),
  );
  const opened = stack.use(
    await opener.open(changedSince === undefined ? disk : { ...disk, changedSince }, {
      signal,
      onNotice: (message) => reporter.notice(message),
      binds: caches.binds,
      ...{ proxy, onMeasured },
    }),
  );
  const session = output.around(opened);
  const facts = known?.facts ?? (await readImageFacts(session));
  assertArchitecture(facts, kind.architectures);
  assertSeries(facts, series);
  const pristine =
    known === undefined ? await beforeChange(session, kind.sealParts) : pristineOf(known.pristine, kind.sealParts);
  const warnings = opened.notMounted.flatMap(({ target, reason, expected }) =>
    reason === null || expected === true ? [] : [`${target} stayed closed while the image was changed: ${reason}`],
  );
  const warn = (message: string) => {
    if (warnings.includes(message)) return;
    warnings.push(message);
    reporter.notice(message);
  };
  const folders = 'layers' in disk ? [shownChanges] : opened.mounted;
  const kept = stack.move();
  const users = kept.use(new AsyncDisposableStack());
  return {
    ...{ session, folders, warnings, warn, facts, proxy, caches, pristine: pristine.lines },
    use: (resource) => users.use(resource),
    async seal(always) {
      await users.disposeAsync();
      const findingsPath = join(disk.workDirectory, 'findings');
      const ending = { closed: opened.notMounted, isLast: true };
      const sealed = await sealImage(session, pristine, { path: findingsPath, folders }, ending);
      for (const warning of sealWarnings(sealed)) warn(warning);
      const bootFiles = always || hasBootChanged(sealed) ? join(disk.workDirectory, 'boot-files') : null;
      if (bootFiles !== null) await collectBootFiles(opened, bootFiles, pristine.lines);
      const close = async () => {
        await session.close();
        await kept.disposeAsync();
      };
      const look = async () => {
        const { touched, copyrights } = await readFindings(findingsPath);
        return { touched, licences: readLicences(copyrights) };
      };
      const [found] = await together<[Awaited<ReturnType<typeof look>>, unknown]>(signal, () => [look(), close()]);
      return { bootFiles, own: readOwnFiles(sealed), ...found };
    },
    async suspend() {
      await users.disposeAsync();
      await assertHiddenUntouched(session, opened.notMounted);
      await session.close();
      await kept.disposeAsync();
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
