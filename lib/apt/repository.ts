import { formatPpa } from '../api/ppa.ts';
import { safeUrl } from '../errors.ts';
import type { AptProxyFailure } from '../fetch/apt-failure.ts';
import { trimEndOf } from '../text.ts';
import type { PpaSource } from './launchpad.ts';

/** Facts about the repositories that apt's messages name. */
export interface KnownRepositories {
  /** The PPAs that were added, for messages to name. */
  readonly sources: readonly PpaSource[];
  /** The proxy's record of failed requests, which says more than apt's messages. */
  readonly proxyFailures?: (() => readonly AptProxyFailure[]) | undefined;
}

/** The PPA that has this URL, or a file with it; null for any other URL. */
export function ppaAt(url: string | null, sources: readonly PpaSource[]): PpaSource | null {
  return sources.find((source) => url !== null && isWithin(url, source.url)) ?? null;
}

/** A repository as users know it: `ppa:owner/name`, or the image's own source with its URL. */
export function describeRepository(
  url: string | null,
  suite: string | null,
  { sources }: Pick<KnownRepositories, 'sources'>,
): string {
  const ppa = ppaAt(url, sources);
  if (ppa !== null) return formatPpa(ppa.ppa);
  if (url === null) return 'a source of the image';
  return `the image's own source ${safeUrl(url)}${suite === null ? '' : ` for "${suite}"`}`;
}

/** The newest failure of the proxy over a file of this repository, unless it only says that the file is missing. */
export function proxyFailureOf(url: string | null, { proxyFailures }: KnownRepositories): AptProxyFailure | null {
  if (url === null) return null;
  const concerns = (failure: AptProxyFailure) =>
    failure.status !== 404 && failure.status !== 410 && (isTunnelTo(failure, url) || isWithin(failure.url, url));
  return proxyFailures?.().findLast(concerns) ?? null;
}

/** Of a tunnel the proxy knows only the server. */
function isTunnelTo(failure: AptProxyFailure, url: string): boolean {
  return failure.url.startsWith('https:') && URL.parse(url)?.host === URL.parse(failure.url)?.host;
}

/** Whether `url` is `repository` or lies in it. The scheme may differ: an image without https reads a PPA by http. */
function isWithin(url: string, repository: string): boolean {
  const bare = (text: string) => `${trimEndOf(text.replace(/^[a-z+]+:\/+/, ''), '/')}/`;
  return bare(url).startsWith(bare(repository));
}
