import { ImageBuilderError } from '../errors.ts';
import { VerifiedBy } from '../evidence.ts';
import type { ExpectedDigests } from './expected-digest.ts';

/** The best evidence for a file; `secure` where its bytes themselves came over https, redirects included. */
export function verificationOf(expected: ExpectedDigests | null, secure: boolean): VerifiedBy {
  if (expected?.vouchedBy === 'request' || expected?.vouchedBy === 'signature') return expected.vouchedBy;
  if (expected?.vouchedBy === 'https') return 'checksums_over_https';
  if (secure) return 'https';
  return expected === null ? 'unverified' : 'checksums_over_http';
}

/** Throws `image.unverified` where the evidence for a file is weaker than the operator demands. */
export function assertVerified(found: VerifiedBy, least: VerifiedBy): void {
  const order = VerifiedBy.options;
  if (order.indexOf(found) <= order.indexOf(least)) return;
  throw new ImageBuilderError(
    'image.unverified',
    `the base image is ${verificationTexts[found]}; this service takes only those with "${least}" or better: ` +
      'name its digest in base_image.checksum, or list its SHA256SUMS and their signature over https',
  );
}

/** The same in words. */
export const verificationTexts: Readonly<Record<VerifiedBy, string>> = {
  request: 'verified by the digest in the request',
  signature: 'verified by a signed list of checksums',
  checksums_over_https: 'verified by a list of checksums over https',
  https: 'verified by https alone: its server vouches for it',
  checksums_over_http:
    'verified by a list of checksums over http alone: that finds accidents, and nothing done on purpose',
  unverified: 'not verified: it came over http, and no list of checksums names it',
};
