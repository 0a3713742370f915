import type { HttpClient } from '../http/client.ts';
import { parseChecksums } from './checksums.ts';
import type { FailedProbe, Probe } from './probe.ts';

/** The digest that a SHA256SUMS names for a file. */
export interface ExpectedDigest {
  /** Lower-case hexadecimal. */
  readonly sha256: string;
  /** The URL of the SHA256SUMS. */
  readonly url: string;
  /** True when the SHA256SUMS came over https, redirects included. */
  readonly secure: boolean;
}

const maximumBytes = 4 * 1024 * 1024;

/**
 * The digests of every SHA256SUMS in the list, by file name. Where several name a file, one that came over https decides,
 * and among those the first.
 */
export async function readListedDigests(
  probes: readonly (Probe | FailedProbe)[],
  client: HttpClient,
  signal: AbortSignal,
): Promise<Map<string, ExpectedDigest>> {
  const digests = new Map<string, ExpectedDigest>();
  for (const found of probes) {
    if ('error' in found || found.format.format !== 'checksums') continue;
    const { url } = found;
    const { text, secure } = await client.getText(url, { maximumBytes, signal });
    for (const [name, sha256] of parseChecksums(text)) {
      const known = digests.get(name);
      if (known === undefined || (secure && !known.secure)) digests.set(name, { sha256, url, secure });
    }
  }
  return digests;
}

/** A request that lists a SHA256SUMS wants the image verified by it: without that file, the image is refused. */
export function assertNoneMissing(probes: readonly (Probe | FailedProbe)[]): void {
  for (const found of probes) {
    if ('error' in found && found.fileName === 'SHA256SUMS') throw found.error;
  }
}

/**
 * The digest in a SHA256SUMS in the folder of one of the mirrors, those over https first. Null where there is none, or
 * it cannot be had.
 */
export async function digestBeside(
  mirrors: readonly Probe[],
  client: HttpClient,
  signal: AbortSignal,
): Promise<ExpectedDigest | undefined> {
  const ordered = [...mirrors.filter(({ secure }) => secure), ...mirrors.filter(({ secure }) => !secure)];
  for (const mirror of ordered) {
    try {
      const url = new URL('SHA256SUMS', mirror.url).href;
      const { text, secure } = await client.getText(url, { maximumBytes, signal });
      const sha256 = parseChecksums(text).get(mirror.fileName);
      if (sha256 !== undefined) return { sha256, url, secure };
    } catch {
      signal.throwIfAborted();
    }
  }
  return undefined;
}
