import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { connect } from 'amqplib';
import { BuildEvent } from '#lib/api/event.ts';
import { listen } from '../lab/servers/listen.ts';

/** The callers' side: exchanges with a mailbox each, the cancel URLs, and the receiver of callbacks. */
export interface Callers extends AsyncDisposable {
  readonly exchanges: readonly string[];
  /** Deletes an exchange, or declares it again; its mailbox stays. */
  setExchange(index: number, there: boolean): Promise<void>;
  /** Every event that has come in so far, each once, in the order in which they came. */
  read(): Promise<readonly BuildEvent[]>;
  /** Answers "building: false" from now on. */
  cancelUrl(index: number): string;
  cancel(index: number): void;
  callbackUrl: string;
  /** Whether callbacks are answered with 503. */
  refuseCallbacks(refuse: boolean): void;
  /** Ids of builds whose end was called back. */
  readonly calledBack: ReadonlySet<string>;
}

export async function startCallers(amqpUrl: string, count: number): Promise<Callers> {
  const exchanges = Array.from({ length: count }, (_, index) => `submitter-${index}-imagebuilder`);
  const mailbox = (exchange: string) => `${exchange}.mailbox`;
  const events: BuildEvent[] = [];
  const seen = new Set<string>();
  const cancelled = new Set<string>();
  const calledBack = new Set<string>();
  let refusing = false;

  const withChannel = async <Result>(work: (channel: Awaited<ReturnType<typeof openChannel>>) => Promise<Result>) => {
    const connection = await connect(amqpUrl);
    connection.on('error', () => {});
    try {
      return await work(await openChannel(connection));
    } finally {
      await connection.close().catch(() => {});
    }
  };
  const setExchange: Callers['setExchange'] = (index, there) =>
    withChannel(async (channel) => {
      const exchange = exchanges[index] ?? '';
      if (!there) return void (await channel.deleteExchange(exchange));
      await channel.assertExchange(exchange, 'fanout', { durable: true });
      await channel.assertQueue(mailbox(exchange), { durable: true });
      await channel.bindQueue(mailbox(exchange), exchange, '');
    });
  for (const index of exchanges.keys()) await setExchange(index, true);

  const server = createServer(async (request, response) => {
    const { url = '', method } = request;
    if (method === 'GET') return void response.end(JSON.stringify({ building: !cancelled.has(url) }));
    // A worker that is killed cuts its call.
    const body = await text(request).catch(() => null);
    if (body === null) return;
    if (refusing) return void response.writeHead(503).end();
    calledBack.add(BuildEvent.parse(JSON.parse(body)).build_id);
    response.end();
  });
  const { url, ...listening } = await listen(server);
  const path = (index: number) => `/job/${index}`;
  return {
    exchanges,
    setExchange,
    async read() {
      await withChannel(async (channel) => {
        for (const exchange of exchanges) {
          for (;;) {
            const message = await channel.get(mailbox(exchange), { noAck: true });
            if (message === false) break;
            // RabbitMQ delivers an event twice, with the same id, when its confirmation was lost.
            if (seen.has(String(message.properties.messageId))) continue;
            seen.add(String(message.properties.messageId));
            events.push(BuildEvent.parse(JSON.parse(message.content.toString('utf8'))));
          }
        }
      });
      return events;
    },
    cancelUrl: (index) => url + path(index),
    cancel: (index) => void cancelled.add(path(index)),
    callbackUrl: `${url}/callback`,
    refuseCallbacks(refuse) {
      refusing = refuse;
    },
    calledBack,
    async [Symbol.asyncDispose]() {
      await listening[Symbol.asyncDispose]();
    },
  };
}

async function openChannel(connection: Awaited<ReturnType<typeof connect>>) {
  const channel = await connection.createChannel();
  channel.on('error', () => {});
  return channel;
}
