import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setPriority } from 'node:os';
import { connect } from 'amqplib';
import type { BuildRequestInput } from '#lib/api/request.ts';
import { formatBytes } from '#lib/text.ts';
import { call, type FunctionProcess } from '../lab/servers/function.ts';
import { startRabbitMq } from '../lab/servers/rabbitmq.ts';
import { writeBuilds } from './events.ts';
import { peakBytesOf } from './memory.ts';
import { besideFirst, processorMs } from './processors.ts';
import { startSmallFunction } from './small-function.ts';
import { type AnsweredCalls, callInTurn, callSteadily } from './steady-calls.ts';

/**
 * Times submissions of builds to the function `build-image`, against the least that they could take: one message that a
 * bare client puts into a quorum queue of the same RabbitMQ, confirmed.
 */

export interface SubmissionMeasurement extends AnsweredCalls {
  readonly what: 'submission' | 'bare message';
  readonly load: string;
  /** Builds that were known before. */
  readonly known: number;
  /** Time of the processor for each; NaN for the bare message. */
  readonly processorMs: number;
  /** Memory of the function; NaN for the bare message. */
  readonly peakBytes: number;
}

export interface SubmissionOptions {
  readonly numbersOfBuilds: readonly number[];
  /** Submissions one after the other, and then so many a second. */
  readonly inTurn: number;
  readonly callsPerSecond: readonly number[];
  readonly seconds: number;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
}

interface Load {
  readonly name: string;
  readonly run: (one: (index: number) => Promise<void>) => Promise<AnsweredCalls>;
}

const exchange = 'bench.progress';
const warmUpCalls = 200;
/** As large as the job of a submission. */
const messageBytes = 900;
const agent = new Agent({ keepAlive: true, maxSockets: 64 });

/**
 * The function has the first processor for itself; RabbitMQ and the caller have the others, where there are some. The
 * caller comes before RabbitMQ: this needs root. The exchange of the callers has a queue that is read.
 */
export async function measureSubmission(options: SubmissionOptions): Promise<SubmissionMeasurement[]> {
  return await besideFirst(async () => {
    const measurements: SubmissionMeasurement[] = [];
    for (const known of options.numbersOfBuilds) measurements.push(...(await measure(known, options)));
    return measurements;
  });
}

async function measure(known: number, options: SubmissionOptions): Promise<SubmissionMeasurement[]> {
  await using rabbitmq = await startRabbitMq();
  await using gateway = await startGateway();
  await using caller = await startCaller(rabbitmq.url);
  await using served = await startSmallFunction('build-image', {
    IMAGEBUILDER_AMQP_URL: rabbitmq.url,
    IMAGEBUILDER_GATEWAY_URL: gateway.url,
  });
  const { id } = served;
  // Declares the stream.
  await submit(served, 'first');
  await writeBuilds(rabbitmq.url, { builds: known, eventsOf: (index) => (index % 2) * 2 });
  await callInTurn((index) => submit(served, `warm-${index}`), { calls: warmUpCalls, signal: options.signal });
  const measurements: SubmissionMeasurement[] = [];
  for (const { name, run } of loadsOf(options)) {
    options.signal.throwIfAborted();
    options.onProgress(`${known} builds, ${name}`);
    const bare = { what: 'bare message', load: name, known, processorMs: Number.NaN, peakBytes: Number.NaN } as const;
    measurements.push({ ...bare, ...(await first(() => run(caller.send))) });
    const before = await processorMs(id);
    const answers = await first(() => run((index) => submit(served, `${name}-${index}`)));
    const spentMs = (await processorMs(id)) - before;
    const spent = { processorMs: spentMs / answers.answered, peakBytes: await peakBytesOf(id) };
    measurements.push({ what: 'submission', load: name, known, ...answers, ...spent });
  }
  return measurements;
}

function loadsOf({ inTurn, callsPerSecond, seconds, signal }: SubmissionOptions): Load[] {
  return [
    { name: 'one after the other', run: (one) => callInTurn(one, { calls: inTurn, signal }) },
    ...callsPerSecond.map((rate) => ({
      name: `${rate} a second`,
      run: (one: (index: number) => Promise<void>) => callSteadily(one, { callsPerSecond: rate, seconds, signal }),
    })),
  ];
}

/** Runs `action` before RabbitMQ, for which this process would wait otherwise. */
async function first<Value>(action: () => Promise<Value>): Promise<Value> {
  setPriority(-10);
  return await action().finally(() => setPriority(0));
}

async function submit({ address }: FunctionProcess, ticket: string): Promise<void> {
  const request: BuildRequestInput = {
    ticket_id: ticket,
    cancel_url: `http://lander.example.org/tickets/${ticket}`,
    base_image: {
      image_type: 'cloud',
      url_list: ['http://images.example.org/jammy-server-cloudimg-amd64.img'],
      series: 'jammy',
    },
    ppa_list: ['ppa:example/tools', 'ppa:example/more'],
    package_list: ['hello', 'tree', 'nginx', 'git', 'curl=8.5.0-2'],
    progress_trigger: exchange,
  };
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(request) };
  const { status, body } = await call(address, '/', { ...options, agent });
  if (status !== 202) throw new Error(`a submission was answered with ${status}: ${body}`);
}

/** A caller with an exchange of its own, and a queue of its own at it, which it reads. */
async function startCaller(url: string) {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange(exchange, 'topic', { durable: true });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, exchange, '#');
  await channel.consume(queue, () => {}, { noAck: true });
  const bare = 'bench.messages';
  await channel.assertQueue(bare, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  const content = Buffer.alloc(messageBytes, 'x');
  return {
    send: () =>
      new Promise<void>((resolve, reject) => {
        const taken = (error: unknown) => (error === null ? resolve() : reject(error));
        channel.sendToQueue(bare, content, { persistent: true, messageId: randomUUID() }, taken);
      }),
    [Symbol.asyncDispose]: () => connection.close(),
  };
}

/** A gateway that takes every wake. */
async function startGateway() {
  const server = createServer((_request, response) => response.writeHead(202).end());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** The rows of a table. */
export function reportSubmission(measurements: readonly SubmissionMeasurement[]): string[][] {
  const columns: readonly (readonly [string, (measurement: SubmissionMeasurement) => string])[] = [
    ['builds before', ({ known }) => String(known)],
    ['load', ({ load }) => load],
    ['of', ({ what }) => what],
    ['p50 (ms)', ({ p50Ms }) => p50Ms.toFixed(1)],
    ['p99 (ms)', ({ p99Ms }) => p99Ms.toFixed(1)],
    ['p99 sent late (ms)', ({ lateP99Ms }) => lateP99Ms.toFixed(1)],
    ['processor (ms)', ({ processorMs: spent }) => (Number.isNaN(spent) ? '' : spent.toFixed(2))],
    ['answered', ({ answered, due }) => `${answered} of ${due}`],
    ['peak memory', ({ peakBytes }) => (Number.isNaN(peakBytes) ? '' : formatBytes(peakBytes))],
  ];
  return [
    columns.map(([title]) => title),
    ...measurements.map((measurement) => columns.map(([, text]) => text(measurement))),
  ];
}
