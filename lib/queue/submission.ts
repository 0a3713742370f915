import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Series } from '../api/base-image.ts';
import { formatPpa } from '../api/ppa.ts';
import type { BuildRequest } from '../api/request.ts';
import { CallerName } from '../callers.ts';

/**
 * The facts of a submission in its job and in the records of its build. The events that callers get do not carry them.
 */
export const Submission = z.object({
  /** Name of the caller that submitted it. */
  caller: CallerName,
  /** `digestRequest` of the submitted request. */
  request_sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Series of the base image; lists of builds can be narrowed to one. Older versions did not record it. */
  series: Series.optional(),
  /** The build whose request it repeats, where it is a retry. */
  retry_of: z.uuid().optional(),
});
export type Submission = z.infer<typeof Submission>;

/**
 * SHA-256, as hex, over everything that decides what is built and who is notified: two submissions are the same request
 * when their digests are equal. The spelling does not count (order of keys, defaults left out, forms of a PPA, ticket 1
 * or "1"), nor does whether the callback URL came in the header or in the body. The order of lists counts. `X-Call-Id`
 * is left out because gateways make a new one for every call, also when a caller repeats a request.
 */
export function digestRequest(request: BuildRequest, callbackUrl: string | null): string {
  const whole = {
    ...request,
    ticket_id: String(request.ticket_id),
    ppa_list: request.ppa_list.map(formatPpa),
    callback_url: callbackUrl,
  };
  return createHash('sha256').update(JSON.stringify(whole, sortKeys)).digest('hex');
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)));
}
