import type { VerifiedBy } from '../api/event.ts';
import type { ExpectedDigest } from './expected-digest.ts';

/**
 * The best evidence for a file: a digest that came over https, https for its bytes themselves (`secure`: redirects
 * included), a digest that anybody on the way could have changed, or nothing.
 */
export function verificationOf(expected: ExpectedDigest | undefined, secure: boolean): VerifiedBy {
  if (expected?.secure === true) return 'sha256sums_over_https';
  if (secure) return 'https';
  return expected === undefined ? 'nothing' : 'sha256sums_over_http';
}

/** The same in words. */
export const verificationTexts: Readonly<Record<VerifiedBy, string>> = {
  sha256sums_over_https: 'verified by a SHA256SUMS over https',
  https: 'verified by https alone: its server vouches for it',
  sha256sums_over_http: 'verified by a SHA256SUMS over http alone: that finds accidents, and nothing done on purpose',
  nothing: 'not verified: it came over http, and no SHA256SUMS names it',
};
