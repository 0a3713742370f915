import { buffer } from 'node:stream/consumers';
import { ImageBuilderError } from '../errors.ts';
import { mergeMetrics, textFormat } from '../metrics/merge.ts';
import { callFunction } from './call.ts';
import type { ServedFunction } from './served-function.ts';

/** `/metrics` of the gateway: the numbers of all functions in one answer. */

const patienceMs = 5_000;

/**
 * Asks each function that stack.yml marks with `prometheus.io.scrape`, and says of each whether it answered. A call does
 * not count for max_inflight: a worker is asked while it builds. Throws `request.forbidden` for callers who may not see
 * metrics.
 */
export async function collectMetrics(
  functions: readonly ServedFunction[],
  authorization: string | undefined,
): Promise<string> {
  const marked = functions.filter(({ definition }) => definition.annotations['prometheus.io.scrape'] === 'true');
  const texts = await Promise.all(marked.map((served) => ask(served, authorization)));
  const up = marked.map(
    ({ definition }, index) =>
      `imagebuilder_function_up{function="${definition.name}"} ${texts[index] === null ? 0 : 1}`,
  );
  const head = [
    '# HELP imagebuilder_function_up Whether the function answered when it was asked for its metrics: 1 or 0',
    '# TYPE imagebuilder_function_up gauge',
  ];
  return mergeMetrics([...texts.filter((text) => text !== null), [...head, ...up].join('\n')]);
}

/** The metrics of a function; null where it has none to give. */
async function ask(served: ServedFunction, authorization: string | undefined): Promise<string | null> {
  const headers = authorization === undefined ? [] : ['authorization', authorization];
  const call = { method: 'GET', path: '/metrics', headers, body: Buffer.alloc(0) };
  try {
    const answer = await callFunction(served.process, call, AbortSignal.timeout(patienceMs));
    const text = (await buffer(answer)).toString();
    if (answer.statusCode === 403) {
      throw new ImageBuilderError('request.forbidden', 'callers with the role "submit" may not see metrics');
    }
    return answer.statusCode === 200 && answer.headers['content-type'] === textFormat ? text : null;
  } catch (error) {
    if (error instanceof ImageBuilderError && error.code === 'request.forbidden') throw error;
    return null;
  }
}
