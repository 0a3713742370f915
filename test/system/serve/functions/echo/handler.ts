import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { loadConfig } from '#lib/config/load.ts';
import { createLog } from '#lib/log.ts';
import { createWake } from '#lib/worker/wake.ts';
import type { Handler } from '../../../../../template/node24-ts/function.ts';

/** Answers with its own call, or does as the path asks. */
const handler: Handler = (event, context) => {
  switch (event.path) {
    case '/exit':
      return process.exit(7);
    case '/throw':
      throw new Error('as asked for');
    case '/stream':
      return Readable.from(['one\n', 'two\n', 'three\n']);
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
