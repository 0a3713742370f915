import { METHODS } from 'node:http';
import { answerCall, type CallOptions } from '../api/call.ts';
import { type Answer, refuseMethod } from '../api/respond.ts';
import { type Callers, seesAll } from '../callers.ts';
import { ImageBuilderError } from '../errors.ts';
import { textFormat } from './merge.ts';
import type { Metrics } from './metrics.ts';

type Event = CallOptions['event'] & { readonly path: string };

export interface MeasuredOptions {
  readonly metrics: Metrics;
  readonly callers: Callers;
  readonly log: CallOptions['log'];
  /** The template of a path below the function, such as `/{build_id}`; `other` for a path that the function does not have. */
  readonly pathOf: (path: string) => string;
}

/** Seconds: a status takes milliseconds, the call of a worker as long as its builds. */
const buckets = [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600, 3_600];

/** The handler, with its calls counted and timed, and the numbers of the function at `/metrics`. */
export function measured<Received extends Event, Context extends Answer>(
  { metrics, callers, log, pathOf }: MeasuredOptions,
  handler: (event: Received, context: Context) => unknown,
): (event: Received, context: Context) => Promise<unknown> {
  const count = metrics.counter({
    name: 'imagebuilder_calls_total',
    help: 'Calls that were answered, by method, template of the path and HTTP status',
    labels: ['method', 'path', 'status'],
  });
  const observe = metrics.histogram(
    {
      name: 'imagebuilder_call_duration_seconds',
      help: 'Time from a call to its answer',
      labels: ['method', 'path'],
    },
    buckets,
  );
  const show = (event: Received, context: Context) =>
    answerCall({ callers, log, event, context, path: '/metrics' }, async (call) => {
      if (event.method !== 'GET' && event.method !== 'HEAD') refuseMethod(call, event.method, ['GET', 'HEAD']);
      if (!seesAll(call.caller)) {
        throw new ImageBuilderError('request.forbidden', `${call.caller.name} may see its own builds, and no metrics`);
      }
      call.headers({ 'content-type': textFormat });
      return await metrics.text();
    });
  return async (event, context) => {
    const startedAt = performance.now();
    let status: number | null = null;
    const counted: Context = {
      ...context,
      status(code: number) {
        status = code;
        context.status(code);
        return counted;
      },
      headers(values: Readonly<Record<string, string>>) {
        context.headers(values);
        return counted;
      },
    };
    const isOwn = /^\/+metrics\/*$/.test(event.path);
    const labels = {
      method: METHODS.includes(event.method) ? event.method : 'other',
      path: isOwn ? '/metrics' : pathOf(event.path),
    };
    try {
      const value = await (isOwn ? show(event, counted) : handler(event, counted));
      status ??= value === undefined ? 204 : 200;
      return value;
    } finally {
      count({ ...labels, status: String(status ?? 500) });
      observe(labels, (performance.now() - startedAt) / 1000);
    }
  };
}
