import { z } from 'zod';

/**
 * Ways to vouch for a base image, the best first: a digest in the request; a list of checksums with a good signature by a
 * key that the operator trusts; such a list that came over https; https itself, redirects included; a list over http,
 * which anybody on the way could have changed; nothing.
 */
export const VerifiedBy = z.enum([
  'request',
  'signature',
  'checksums_over_https',
  'https',
  'checksums_over_http',
  'unverified',
]);
export type VerifiedBy = z.infer<typeof VerifiedBy>;
