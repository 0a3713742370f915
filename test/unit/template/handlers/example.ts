import { once } from 'node:events';
import { Readable } from 'node:stream';
import type { Handler } from '../../../../template/node24-ts/function.ts';

/** A handler whose answer is chosen by the path, to be served by the template in tests. */

const released = Promise.withResolvers<undefined>();
const endlessEnded = Promise.withResolvers<boolean>();

const answers: Readonly<Record<string, Handler>> = {
  '/echo': ({ method, path, query, headers, body, rawBody }) => ({
    method,
    path,
    query,
    headers,
    body: Buffer.isBuffer(body) ? { bytes: body.toString('base64') } : body,
    hasBody: body !== undefined,
    rawLength: rawBody.length,
  }),
  '/json': () => [1, { two: 2 }],
  '/null': () => null,
  '/text': () => 'grüße',
  '/binary': () => new Uint8Array([0, 255, 10]),
  '/nothing': () => undefined,
  '/problem': (_event, context) => {
    context.status(422).headers({ 'Content-Type': 'application/problem+json', 'X-Extra': 'yes' });
    return { status: 422 };
  },
  '/no-content': (_event, context) => {
    context.status(204);
    return { dropped: true };
  },
  '/forwarded-headers': (_event, context) => {
    context.headers({ 'transfer-encoding': 'chunked', connection: 'close', 'content-length': '99' });
    return 'four';
  },
  '/throw': () => {
    throw new Error('the secret inside');
  },
  '/throw-circular': () => {
    const cause: Record<string, unknown> = { big: 1n };
    cause.self = cause;
    throw new Error('odd', { cause });
  },
  '/throw-string': () => Promise.reject('only a string'),
  '/bad-status': (_event, context) => context.status(1000),
  '/bad-header': (_event, context) => context.headers({ 'x-bad': 'a\r\nset-cookie: b' }),
  '/function': () => () => 'not an answer',
  '/stream': () => Readable.from([Buffer.from('one '), Buffer.from('two')]),
  '/large-stream': () => Readable.from(Array.from({ length: 64 }, (_, index) => Buffer.alloc(65_536, index))),
  '/generator': async function* () {
    yield 'a';
    yield 'b';
  },
  '/empty-stream': () => Readable.from([]),
  '/stream-fails-first': () =>
    new Readable({
      read() {
        this.destroy(new Error('no source'));
      },
    }),
  '/stream-fails-later': async function* () {
    yield 'begun';
    await new Promise((resolve) => setImmediate(resolve));
    throw new Error('cut');
  },
  '/long-stream-fails': async function* (_event, context) {
    context.headers({ 'content-length': String(64 * 65_536) });
    for (let count = 0; count < 63; count += 1) yield Buffer.alloc(65_536);
    throw new Error('cut');
  },
  '/stream-too-short': (_event, context) => {
    context.headers({ 'content-length': '10' });
    return Readable.from([Buffer.from('short')]);
  },
  '/stream-destroyed': () => new Readable({ read() {} }).destroy(),
  '/endless': async function* (_event, { disconnected }) {
    try {
      while (true) yield 'x'.repeat(65_536);
    } finally {
      endlessEnded.resolve(disconnected.aborted);
    }
  },
  // Nothing, then the text of the query; then nothing until its caller leaves or the function stops.
  '/events': (event, context) => {
    context.headers({ 'content-type': 'text/event-stream', 'x-mine': 'kept' });
    const stream = new Readable({ read() {} });
    stream.on('close', () => log('source ended'));
    released.promise.then(() => stream.push(`data: ${event.query.text}\n\n`));
    return stream;
  },
  '/endless-ended': async () => ({ aborted: await endlessEnded.promise }),
  '/until-disconnected-and-stopping': async (_event, { disconnected, stopping }) => {
    log('waiting');
    await aborted(disconnected);
    log('disconnected');
    await aborted(stopping);
    await new Promise((resolve) => setTimeout(resolve, 50));
    log('handed back');
  },
  '/long-after-stopping': async (_event, { stopping }) => {
    log('waiting');
    await aborted(stopping);
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    return 'late';
  },
  '/until-released': async (_event, { stopping }) => {
    log('waiting');
    await Promise.all([aborted(stopping), released.promise]);
    return 'handed back';
  },
  '/answers-early': async (_event, context) => {
    await context.status(202).headers({ 'x-early': 'yes' }).answerNow({ early: true });
    log('answered');
    await aborted(context.stopping);
    log(`handed back ${context.disconnected.aborted ? 'though its caller left' : 'in its own time'}`);
    return 'nobody gets this';
  },
  '/answers-early-and-fails': async (_event, context) => {
    await context.answerNow('early');
    throw new Error('failed afterwards');
  },
  '/release': () => released.resolve(undefined),
  '/crash': () => {
    setImmediate(() => {
      throw new Error('nobody catches this');
    });
    return new Promise(() => {});
  },
};

const handler: Handler = (event, context) => (answers[event.path] ?? answers['/echo'])?.(event, context);
export default handler;

export async function close(): Promise<void> {
  log('closed');
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return signal.aborted ? Promise.resolve() : once(signal, 'abort');
}

function log(message: string): void {
  process.stderr.write(`${JSON.stringify({ message })}\n`);
}
