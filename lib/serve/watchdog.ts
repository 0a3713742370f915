import type { ServedFunction } from './served-function.ts';

/**
 * Answers the paths of a function that OpenFaaS's watchdog keeps for itself: `/_/health` says whether the function runs,
 * `/_/ready` whether it takes another call. Undefined for all other paths, which are the function's own.
 *
 * @param path Path and query below the function's URL.
 */
export function answerAsWatchdog(
  { process, slots }: ServedFunction,
  method: string,
  path: string,
): { readonly status: number; readonly body: string } | undefined {
  const [page] = path.split('?', 1);
  if (page !== '/_/health' && page !== '/_/ready') return undefined;
  if (method !== 'GET') return { status: 405, body: '' };
  if (!process.ready) return { status: 503, body: '' };
  if (page === '/_/health') return { status: 200, body: 'OK' };
  return { status: slots.full ? 429 : 200, body: '' };
}
