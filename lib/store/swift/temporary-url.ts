import { createHmac } from 'node:crypto';

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
}

/** Signed with SHA-256, over method, expiry and path in the cluster's form, which begins at `/v1/`. */
export function temporaryUrl({ url, key, expires, fileName }: TemporaryUrlOptions): string {
  const { pathname } = new URL(url);
  const path = decodeURIComponent(pathname.slice(Math.max(0, pathname.search(/\/v1\//))));
  const signature = createHmac('sha256', key).update(`GET\n${expires}\n${path}`).digest('hex');
  const query = new URLSearchParams({
    temp_url_sig: signature,
    temp_url_expires: String(expires),
    filename: fileName,
  });
  return `${url}?${query}`;
}
