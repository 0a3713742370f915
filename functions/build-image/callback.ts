import { randomUUID } from 'node:crypto';
import type { BuildRequest } from '#lib/api/request.ts';
import { HttpUrl } from '#lib/api/url.ts';
import type { RequestFault } from '#lib/errors.ts';
import type { BuildJob } from '#lib/queue/job.ts';
import type { FunctionEvent } from '../../template/node24-ts/function.ts';

/** The callback of a submission: by OpenFaaS's headers, or by its body. */

export function headerFaults({ headers }: FunctionEvent): RequestFault[] {
  const faults: RequestFault[] = [];
  const url = headers['x-callback-url'] || null;
  if (url !== null && !HttpUrl.safeParse(url).success) {
    faults.push({ path: 'X-Callback-Url', message: 'must be an absolute http or https URL without a password' });
  }
  if ((headers['x-call-id'] ?? '').length > 256) {
    faults.push({ path: 'X-Call-Id', message: 'must be at most 256 characters' });
  }
  return faults;
}

/** OpenFaaS's own header wins over the body's `callback_url`. A header without a value does not count. */
export function callbackOf(
  { headers }: FunctionEvent,
  request: Pick<BuildRequest, 'callback_url'>,
): BuildJob['callback'] {
  const url = headers['x-callback-url'] || request.callback_url || null;
  return url === null ? null : { url, call_id: headers['x-call-id'] || randomUUID() };
}
