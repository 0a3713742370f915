import { createHmac } from 'node:crypto';
import { ImageBuilderError } from '../../errors.ts';
import { someOf } from '../../text.ts';

/** URLs that give one object to anybody who has them, for a time: Swift's TempURL middleware. */

export interface TemporaryUrlOptions {
  /** URL of the object, as it is sent: `https://host/v1/AUTH_x/container/object`. */
  readonly url: string;
  /** One of the keys of the container or its account. */
  readonly key: string;
  /** Seconds since the epoch. */
  readonly expires: number;
  /** The name that a browser gives to the file. */
  readonly fileName: string;
  readonly digest: TemporaryUrlDigest;
}

/** The digests that TempURLs may be signed with, the best first. */
const digests = ['sha256', 'sha512', 'sha1'] as const;
export type TemporaryUrlDigest = (typeof digests)[number];

/** The best of the digests that a cluster takes. Throws `store.refused` where it takes none that we know. */
export function chooseDigest(allowed: readonly string[]): TemporaryUrlDigest {
  const found = digests.find((digest) => allowed.includes(digest));
  if (found !== undefined) return found;
  const has = allowed.length === 0 ? 'it has none' : `it takes ${someOf(allowed)}`;
  throw new ImageBuilderError(
    'store.refused',
    `Swift takes no TempURLs signed with ${digests.join(', ')}: ${has} (/info says so); remove the secret swift-temporary-url-key`,
  );
}

/** Signed over method, expiry and path in the cluster's form, which begins at `/v1/`. */
export function temporaryUrl({ url, key, expires, fileName, digest }: TemporaryUrlOptions): string {
  const { pathname } = new URL(url);
  const path = decodeURIComponent(pathname.slice(Math.max(0, pathname.search(/\/v1\//))));
  const signature = createHmac(digest, key).update(`GET\n${expires}\n${path}`).digest('hex');
  const query = new URLSearchParams({
    temp_url_sig: signature,
    temp_url_expires: String(expires),
    filename: fileName,
  });
  return `${url}?${query}`;
}
