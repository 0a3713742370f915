import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfig } from '#lib/config/load.ts';
import { createLog } from '#lib/log.ts';
import { createWake } from '#lib/worker/wake.ts';
import type { Handler } from '../../../../../template/node24-ts/function.ts';

/** One event at once, one after half a second, and then nothing. */
async function* events(stopping: AbortSignal): AsyncIterable<string> {
  yield 'data: one\n\n';
  await sleep(500);
  yield 'data: two\n\n';
  await once(stopping, 'abort');
}

/** Answers with its own call, or does as the path asks. */
const handler: Handler = (event, context) => {
  switch (event.path) {
    case '/exit':
      return process.exit(7);
    case '/throw':
      throw new Error('as asked for');
    case '/stream':
      return Readable.from(['one\n', 'two\n', 'three\n']);
    case '/events':
      context.headers({ 'content-type': 'text/event-stream' });
      return events(context.stopping);
    case '/digest':
      return createHash('sha256').update(event.rawBody).digest('hex');
    case '/created':
      context.status(201).headers({ 'x-own': 'yes', 'x-call-id': 'not mine to say' });
      return { made: true };
    case '/wake':
      return createWake({ ...loadConfig().wake, log: createLog() }).send();
    case '/environment':
      return { ...process.env, pid: process.pid };
  }
  const { method, path, query, headers, body } = event;
  return { method, path, query, headers, body: Buffer.isBuffer(body) ? body.toString('base64') : body };
};

export default handler;
