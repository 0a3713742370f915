import { Agent, request } from 'node:http';
import { setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Status } from '#lib/api/status.ts';
import { formatBytes } from '#lib/text.ts';
import { call as callFunction, type FunctionProcess } from '../lab/servers/function.ts';
import { startRabbitMq } from '../lab/servers/rabbitmq.ts';
import { keepWriting, ticketOf, writeBuilds } from './events.ts';
import { withPeakMemory } from './memory.ts';
import { besideFirst, processorMs } from './processors.ts';
import { startSmallFunction } from './small-function.ts';
import { type AnsweredCalls, callSteadily } from './steady-calls.ts';
import { startReaders } from './stream-readers.ts';

/** Times answers of the function `status` to a steady stream of calls, with few and with many builds, and open streams. */

export interface StatusMeasurement extends AnsweredCalls {
  readonly builds: number;
  readonly asked: Asked;
  /** Streams that are read meanwhile. */
  readonly streams: number;
  /** Documents that a stream gets in a second; NaN without streams. */
  readonly documentsPerSecond: number;
  /** Streams that were refused or cut off. */
  readonly failedStreams: number;
  readonly answerBytes: number;
  /** Time of the processor for each call. */
  readonly processorMs: number;
  /** Of one processor. */
  readonly processorShare: number;
  readonly peakBytes: number;
}

/** The calls are for the status of the service, or for one build or ticket after the other. */
export type Asked = 'status' | 'build' | 'ticket';

export interface StatusOptions {
  readonly numbersOfBuilds: readonly number[];
  /** Each number of builds is measured with each of these. */
  readonly loads: readonly { readonly asked: Asked; readonly streams: number }[];
  readonly callsPerSecond: number;
  readonly seconds: number;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
}

const warmUpSeconds = 8;

/**
 * Of each number of builds, half waits in the queue and half has failed. The function has the first processor for itself;
 * RabbitMQ and the caller have the others, where there are some. The caller comes before RabbitMQ, for which it would
 * wait up to 15 ms otherwise: this needs root.
 */
export async function measureStatus(options: StatusOptions): Promise<StatusMeasurement[]> {
  return await besideFirst(async () => {
    const measurements: StatusMeasurement[] = [];
    for (const builds of options.numbersOfBuilds) {
      for (const { asked, streams } of options.loads) {
        options.signal.throwIfAborted();
        options.onProgress(`${builds} builds, ${streams} open streams, calls for ${asked}`);
        measurements.push(await measure(builds, asked, streams, options));
      }
    }
    return measurements;
  });
}

async function measure(
  builds: number,
  asked: Asked,
  streams: number,
  options: StatusOptions,
): Promise<StatusMeasurement> {
  await using rabbitmq = await startRabbitMq();
  await using served = await startSmallFunction('status', { IMAGEBUILDER_AMQP_URL: rabbitmq.url });
  const { id } = served;
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  using _agent = { [Symbol.dispose]: () => agent.destroy() };
  // Declares the stream.
  await call(served, '/', agent);
  const ids = await writeBuilds(rabbitmq.url, { builds, eventsOf: (index) => (index % 2) * 2 });
  const pathOf = pathsFor(asked, ids);
  await untilKnown(served, builds, options.signal);
  await using _events = await keepWriting(rabbitmq.url);
  await using readers = await startReaders(served.address, streams);
  let answerBytes = 0;
  const ask = async (index: number) => {
    answerBytes = await call(served, pathOf(index), agent);
  };
  // Each look at the memory stops the process for some 20 ms: the times are taken without one.
  const { peakBytes } = await withPeakMemory({ root: id }, () =>
    callSteadily(ask, { ...options, seconds: warmUpSeconds }),
  );
  const before = await processorMs(id);
  const { documents } = readers;
  const startedMs = performance.now();
  setPriority(-10);
  const answers = await callSteadily(ask, options).finally(() => setPriority(0));
  const seconds = (performance.now() - startedMs) / 1000;
  const usedMs = (await processorMs(id)) - before;
  return {
    ...{ builds, asked, streams, ...answers, answerBytes, peakBytes },
    ...{ processorMs: usedMs / answers.answered, processorShare: usedMs / 1000 / seconds },
    documentsPerSecond: (readers.documents - documents) / seconds / streams,
    failedStreams: readers.failed,
  };
}

/** Waits until the function has read the records of all builds, one after the other. */
async function untilKnown({ address }: FunctionProcess, builds: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const { body } = await callFunction(address, '/', {});
    const { counts } = Status.parse(JSON.parse(body.toString()));
    if (Object.values(counts).reduce((sum, count) => sum + count, 0) === builds) return;
    await sleep(100);
  }
}

/** The path of each call, by its number. Neighbours in it are far from each other in the order of builds. */
function pathsFor(asked: Asked, ids: readonly string[]): (call: number) => string {
  const indexOf = (call: number) => (call * 7_919) % ids.length;
  if (asked === 'build') return (call) => `/?build_id=${ids[indexOf(call)]}`;
  return asked === 'ticket' ? (call) => `/?ticket_id=${ticketOf(indexOf(call))}` : () => '/';
}

/** Resolves with the bytes of the answer. */
function call({ address }: FunctionProcess, path: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request({ ...address, path, agent }, (response) => {
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      response.on('end', () => (response.statusCode === 200 ? resolve(bytes) : reject(new Error('refused'))));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end();
  });
}

/** The rows of a table. */
export function reportStatus(measurements: readonly StatusMeasurement[]): string[][] {
  const columns: readonly (readonly [string, (measurement: StatusMeasurement) => string])[] = [
    ['builds', ({ builds }) => String(builds)],
    ['calls for', ({ asked }) => asked],
    ['streams', ({ streams }) => String(streams)],
    ['answer', ({ answerBytes }) => formatBytes(answerBytes)],
    ['p50 (ms)', ({ p50Ms }) => p50Ms.toFixed(1)],
    ['p99 (ms)', ({ p99Ms }) => p99Ms.toFixed(1)],
    ['p99 sent late (ms)', ({ lateP99Ms }) => lateP99Ms.toFixed(1)],
    ['processor (ms)', ({ processorMs }) => processorMs.toFixed(2)],
    ['processor', ({ processorShare }) => `${(100 * processorShare).toFixed(0)} %`],
    ['answered', ({ answered, due }) => `${answered} of ${due}`],
    ['documents/s', ({ documentsPerSecond: rate }) => (Number.isNaN(rate) ? '' : rate.toFixed(2))],
    ['streams failed', ({ failedStreams }) => String(failedStreams)],
    ['peak memory', ({ peakBytes }) => formatBytes(peakBytes)],
  ];
  return [
    columns.map(([title]) => title),
    ...measurements.map((measurement) => columns.map(([, text]) => text(measurement))),
  ];
}
