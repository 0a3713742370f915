import { formatPpa } from '../api/ppa.ts';
import type { BuildRequest } from '../api/request.ts';
import { type PpaSource, resolvePpa } from '../apt/launchpad.ts';
import { together } from '../async.ts';
import { parseDigest } from '../checksums.ts';
import { type FetchedFile, fetchBaseImages } from '../fetch/base-images.ts';
import { keyringFiles } from '../fetch/signature.ts';
import { verificationTexts } from '../fetch/verification.ts';
import type { ImageKind } from '../kinds/kind.ts';
import { quoted } from '../text.ts';
import type { BuildTools, LimitedContext } from './context.ts';

export interface BuildInputs {
  /** The base image; with the other archives of its release, in any order. */
  readonly files: readonly [FetchedFile, ...FetchedFile[]];
  readonly sources: readonly PpaSource[];
}

/** Fetches the base image and looks up the PPAs at the same time, so that a wrong PPA costs no download. */
export async function fetchInputs(
  request: BuildRequest,
  kind: ImageKind,
  workDirectory: string,
  { client, settings, observer }: BuildTools,
  { signal, reporter, space }: LimitedContext,
): Promise<BuildInputs> {
  const { checksum } = request.base_image;
  const keyrings = await keyringFiles(settings.keyrings);
  reporter.begin('fetch', 'fetching the base image and looking up the PPAs');
  const [files, sources] = await together<[BuildInputs['files'], PpaSource[]]>(signal, (both) => [
    fetchBaseImages({
      urlList: request.base_image.url_list,
      wanted: kind.baseFile,
      checksum: checksum === undefined ? null : parseDigest(checksum),
      keyrings,
      leastVerification: settings.leastVerification,
      client,
      cacheDirectory: settings.cacheDirectory,
      cacheBytes: settings.imageCacheBytes,
      maximumBytes: settings.maximumDownloadBytes,
      workDirectory,
      unprivilegedIds: settings.unprivilegedIds,
      signal: both,
      async beforeDownload(sizeBytes, partBytes) {
        // A download that is not allowed is refused as such.
        if ((sizeBytes ?? 0) > settings.maximumDownloadBytes) return;
        await space.claim(space.plan.beforeDownload(sizeBytes, partBytes));
      },
      onProgress: (current, total) => reporter.progress(current, total),
      onNotice: (message) => reporter.notice(message),
      observer,
    }),
    Promise.all(
      request.ppa_list.map((ppa) =>
        resolvePpa(ppa, {
          launchpadApiUrl: settings.launchpadApiUrl,
          ppaUrl: settings.ppaUrl,
          series: request.base_image.series,
          client,
          workDirectory,
          unprivilegedIds: settings.unprivilegedIds,
          signal: both,
        }),
      ),
    ),
  ]);
  for (const { fileName, sha256, fromCache, verifiedBy } of files) {
    const name = files.length === 1 ? 'the base image' : quoted(fileName);
    const cached = fromCache ? ', was in the cache' : '';
    reporter.notice(`${name} has SHA-256 ${sha256}${cached}, and is ${verificationTexts[verifiedBy]}`);
  }
  for (const { ppa, key } of sources) {
    if (key.weakness !== null) reporter.notice(`the signing key of ${formatPpa(ppa)} is weak: ${key.weakness}`);
  }
  return { files, sources };
}
