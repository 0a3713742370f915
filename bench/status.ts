import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { availableParallelism, setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ConfirmChannel, connect } from 'amqplib';
import { Status } from '#lib/api/status.ts';
import { exec } from '#lib/exec.ts';
import { encodeRecord } from '#lib/queue/record.ts';
import { queues } from '#lib/queue/topology.ts';
import { formatBytes } from '#lib/text.ts';
import { call as callFunction, type FunctionProcess, startFunction } from '../lab/servers/function.ts';
import { startRabbitMq } from '../lab/servers/rabbitmq.ts';
import { withPeakMemory } from './memory.ts';
import { startReaders } from './stream-readers.ts';

/** Times answers of the function `status` to a steady stream of calls, with few and with many builds, and open streams. */

export interface StatusMeasurement {
  readonly builds: number;
  readonly asked: Asked;
  /** Streams that are read meanwhile. */
  readonly streams: number;
  /** Documents that a stream gets in a second; NaN without streams. */
  readonly documentsPerSecond: number;
  /** Streams that were refused or cut off. */
  readonly failedStreams: number;
  readonly answerBytes: number;
  /** From the moment at which a call was due, so that a late call counts as slow. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** By how much the caller itself sent its calls too late; part of the times above. */
  readonly lateP99Ms: number;
  readonly answered: number;
  readonly due: number;
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
const eventsPerSecond = 10;
/** Calls that wait for an answer; further ones that are due count as not answered. */
const maximumUnderWay = 2_000;

/**
 * Of each number of builds, half waits in the queue and half has failed. The function has the first processor for itself;
 * RabbitMQ and the caller have the others, where there are some. The caller comes before RabbitMQ, for which it would
 * wait up to 15 ms otherwise: this needs root.
 */
export async function measureStatus(options: StatusOptions): Promise<StatusMeasurement[]> {
  const processors = availableParallelism();
  const others = processors === 1 ? '0' : `1-${processors - 1}`;
  const measurements: StatusMeasurement[] = [];
  await bind(process.pid, others);
  try {
    for (const builds of options.numbersOfBuilds) {
      for (const { asked, streams } of options.loads) {
        options.signal.throwIfAborted();
        options.onProgress(`${builds} builds, ${streams} open streams, calls for ${asked}`);
        measurements.push(await measure(builds, asked, streams, options));
      }
    }
  } finally {
    await bind(process.pid, `0-${processors - 1}`);
  }
  return measurements;
}

/** Binds all threads of a process, and the processes that it starts from then on, to processors. */
async function bind(id: number, processors: string): Promise<void> {
  await exec('taskset', ['--all-tasks', '--cpu-list', '--pid', processors, String(id)]);
}

async function measure(
  builds: number,
  asked: Asked,
  streams: number,
  options: StatusOptions,
): Promise<StatusMeasurement> {
  await using rabbitmq = await startRabbitMq();
  const env = { IMAGEBUILDER_AMQP_URL: rabbitmq.url, IMAGEBUILDER_LOG_LEVEL: 'error' };
  const handler = `${import.meta.dirname}/../functions/status/handler.ts`;
  await using served = await startFunction({ handler, env });
  await bind(served.child.pid ?? 0, '0');
  // Declares the stream.
  await call(served, '/', new Agent());
  const ids = await fill(rabbitmq.url, builds);
  const pathOf = pathsFor(asked, ids);
  await untilKnown(served, builds, options.signal);
  await using _events = await trickle(rabbitmq.url);
  await using readers = await startReaders(served.address, streams);
  // Each look at the memory stops the process for some 20 ms: the times are taken without one.
  const { peakBytes } = await withPeakMemory({ root: served.child.pid ?? 0 }, () =>
    load(served, pathOf, { ...options, seconds: warmUpSeconds }),
  );
  const before = await processorMs(served);
  const { documents } = readers;
  const startedMs = performance.now();
  setPriority(-10);
  const loaded = await load(served, pathOf, options).finally(() => setPriority(0));
  const seconds = (performance.now() - startedMs) / 1000;
  const usedMs = (await processorMs(served)) - before;
  return {
    ...{ builds, asked, streams, ...loaded, peakBytes },
    ...{ processorMs: usedMs / loaded.answered, processorShare: usedMs / 1000 / seconds },
    documentsPerSecond: (readers.documents - documents) / seconds / streams,
    failedStreams: readers.failed,
  };
}

/** Waits until the function has read the records of all builds, which takes some 150 µs for each record. */
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

async function load(
  served: FunctionProcess,
  pathOf: (call: number) => string,
  { callsPerSecond, seconds, signal }: StatusOptions,
) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const due = callsPerSecond * seconds;
  const times: number[] = [];
  const late: number[] = [];
  let answerBytes = 0;
  const underWay = new Set<Promise<void>>();
  const started = performance.now();
  for (let sent = 0; sent < due; ) {
    signal.throwIfAborted();
    const dueNow = Math.min(due, Math.ceil(((performance.now() - started) * callsPerSecond) / 1000));
    for (; sent < dueNow; sent += 1) {
      if (underWay.size >= maximumUnderWay) continue;
      const dueAt = started + (sent * 1000) / callsPerSecond;
      late.push(performance.now() - dueAt);
      const one = call(served, pathOf(sent), agent).then(
        (bytes) => {
          answerBytes = bytes;
          times.push(performance.now() - dueAt);
        },
        () => {},
      );
      underWay.add(one);
      void one.then(() => underWay.delete(one));
    }
    await sleep(1);
  }
  await Promise.all(underWay);
  agent.destroy();
  const [p50Ms, p99Ms, lateP99Ms] = [at(times, 0.5), at(times, 0.99), at(late, 0.99)];
  return { answerBytes, p50Ms, p99Ms, lateP99Ms, answered: times.length, due };
}

/** The quantile of numbers; NaN of none. */
function at(numbers: readonly number[], share: number): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length * share)] ?? Number.NaN;
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

/** Time that a process has had a processor for so far (proc_pid_schedstat(5), in nanoseconds). */
async function processorMs({ child }: FunctionProcess): Promise<number> {
  const tasks = await readdir(`/proc/${child.pid}/task`);
  const times = tasks.map(async (task) => await readFile(`/proc/${child.pid}/task/${task}/schedstat`, 'utf8'));
  return (await Promise.all(times)).reduce((sum, text) => sum + Number(text.split(' ')[0]) / 1e6, 0);
}

const ticketOf = (index: number) => `LP-${index}`;

/** Writes the records of builds into the events stream, as functions write them. Resolves with the builds' ids. */
async function fill(url: string, builds: number): Promise<string[]> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  const ids = Array.from({ length: builds }, () => randomUUID());
  for (const [index, build_id] of ids.entries()) {
    append(channel, build_id, index, {});
    if (index % 2 === 0) continue;
    append(channel, build_id, index, { state: 'running', worker: 'bench-1', attempt: 1, sequence: 1 });
    const error = { code: 'ppa.not_found', message: 'there is no PPA ppa:example/tools', step: 'sources' } as const;
    append(channel, build_id, index, {
      ...{ state: 'failed', worker: 'bench-1', attempt: 1, sequence: 2, step: 'sources', message: error.message },
      error: { ...error, fault: 'request', retryable: false },
    });
    if (index % 500 === 1) await channel.waitForConfirms();
  }
  await channel.waitForConfirms();
  await connection.close();
  return ids;
}

/** Writes events of one running build, as many as some builds write that run at the same time. */
async function trickle(url: string): Promise<AsyncDisposable> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  const build_id = randomUUID();
  let sequence = 0;
  const timer = setInterval(() => {
    sequence += 1;
    append(channel, build_id, -1, { state: 'running', worker: 'bench-2', attempt: 1, sequence });
  }, 1000 / eventsPerSecond);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await connection.close();
    },
  };
}

type Values = Partial<Extract<Parameters<typeof encodeRecord>[0], { kind: 'event' }>['event']>;

function append(channel: ConfirmChannel, build_id: string, index: number, values: Values): void {
  const content = encodeRecord({
    kind: 'event',
    id: randomUUID(),
    submission: { caller: 'anonymous', request_sha256: '0'.repeat(64) },
    event: {
      ...{ build_id, ticket_id: ticketOf(index), progress_trigger: 'bench', sequence: 0, attempt: 0, worker: null },
      ...{ time: new Date().toISOString(), state: 'queued', step: null, message: 'Waiting for a worker' },
      ...{ current: null, total: null, progress: 0 },
      ...values,
    },
  });
  channel.sendToQueue(queues.events, content, { persistent: true, contentType: 'application/json' });
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
