import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { Status } from '#lib/api/status.ts';
import { queues } from '#lib/queue/topology.ts';
import { formatBytes } from '#lib/text.ts';
import { call, type FunctionProcess } from '../lab/servers/function.ts';
import { startRabbitMq } from '../lab/servers/rabbitmq.ts';
import { type WrittenBuilds, writeBuilds } from './events.ts';
import { peakBytesOf } from './memory.ts';
import { besideFirst, processorMs } from './processors.ts';
import { startSmallFunction } from './small-function.ts';

/** Times how a function reads the whole events stream when it starts. */

export interface ColdStart extends WrittenBuilds {
  readonly name: string;
  /** `IMAGEBUILDER_EVENT_RETENTION_SIZE`. */
  readonly streamSize: string;
}

export interface ColdStartMeasurement {
  readonly name: string;
  readonly streamSize: string;
  /** Events that were written, and those that the stream still has. */
  readonly written: number;
  readonly events: number;
  /** Builds that the function knows. */
  readonly builds: number;
  /** From the start of its process to the first answer that has all of the stream. */
  readonly seconds: number;
  /** The same without an event in the stream. */
  readonly emptySeconds: number;
  readonly processorSeconds: number;
  readonly peakBytes: number;
}

export interface ColdStartOptions {
  readonly starts: readonly ColdStart[];
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
}

/** The function, `status`, has the first processor for itself; RabbitMQ has the others, where there are some. */
export async function measureColdStarts({ starts, ...options }: ColdStartOptions): Promise<ColdStartMeasurement[]> {
  return await besideFirst(async () => {
    const measurements: ColdStartMeasurement[] = [];
    for (const start of starts) measurements.push(await measure(start, options));
    return measurements;
  });
}

async function measure(
  start: ColdStart,
  { signal, onProgress }: Omit<ColdStartOptions, 'starts'>,
): Promise<ColdStartMeasurement> {
  const { name, streamSize } = start;
  await using rabbitmq = await startRabbitMq();
  const env = { IMAGEBUILDER_AMQP_URL: rabbitmq.url, IMAGEBUILDER_EVENT_RETENTION_SIZE: streamSize };
  // Declares the stream.
  const empty = await startCold(env, signal);
  onProgress(`${name}: writing events`);
  await writeBuilds(rabbitmq.url, start);
  const written = Array.from({ length: start.builds }, (_, index) => 1 + start.eventsOf(index));
  onProgress(`${name}: starting status`);
  const cold = await startCold(env, signal);
  return {
    ...{ name, streamSize, ...cold, emptySeconds: empty.seconds },
    written: written.reduce((sum, events) => sum + events, 0),
    events: await eventsIn(rabbitmq.url),
  };
}

/** Starts the function, and ends it when it has answered. */
async function startCold(env: Readonly<Record<string, string>>, signal: AbortSignal) {
  const started = performance.now();
  await using served = await startSmallFunction('status', env);
  const { id } = served;
  const counts = await wholeAnswer(served, signal);
  return {
    seconds: (performance.now() - started) / 1000,
    processorSeconds: (await processorMs(id)) / 1000,
    peakBytes: await peakBytesOf(id),
    builds: Object.values(counts).reduce((sum, count) => sum + count, 0),
  };
}

/** The counts of the first status of the whole stream: those before it say that the stream is still being read. */
async function wholeAnswer({ address }: FunctionProcess, signal: AbortSignal): Promise<Status['counts']> {
  for (;;) {
    signal.throwIfAborted();
    const { broker, counts } = Status.parse(JSON.parse((await call(address, '/')).body.toString()));
    if (broker.reachable) return counts;
    await sleep(20);
  }
}

async function eventsIn(url: string): Promise<number> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  const { messageCount } = await channel.checkQueue(queues.events);
  await connection.close();
  return messageCount;
}

/** The rows of a table. */
export function reportColdStarts(measurements: readonly ColdStartMeasurement[]): string[][] {
  const columns: readonly (readonly [string, (measurement: ColdStartMeasurement) => string])[] = [
    ['written', ({ name }) => name],
    ['stream', ({ streamSize }) => streamSize],
    ['events left', ({ events, written }) => `${events} of ${written}`],
    ['builds known', ({ builds }) => String(builds)],
    ['seconds', ({ seconds }) => seconds.toFixed(1)],
    ['… of an empty stream', ({ emptySeconds }) => emptySeconds.toFixed(1)],
    ['processor (s)', ({ processorSeconds }) => processorSeconds.toFixed(1)],
    ['peak memory', ({ peakBytes }) => formatBytes(peakBytes)],
  ];
  return [
    columns.map(([title]) => title),
    ...measurements.map((measurement) => columns.map(([, text]) => text(measurement))),
  ];
}
