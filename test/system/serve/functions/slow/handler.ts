import { setTimeout as sleep } from 'node:timers/promises';
import type { Handler } from '../../../../../template/node24-ts/function.ts';

/** Answers after `?ms=`, or at once on SIGTERM; logs its beginning and that its caller has gone. */
const handler: Handler = async (event, context) => {
  console.error(JSON.stringify({ message: 'slow begins', id: event.query.id, pid: process.pid }));
  context.disconnected.addEventListener('abort', () => {
    console.error(JSON.stringify({ message: 'slow lost its caller', id: event.query.id }));
  });
  const signal = event.query.stubborn === undefined ? context.stopping : undefined;
  const stopped = await sleep(Number(event.query.ms), false, signal === undefined ? {} : { signal }).catch(() => true);
  return { id: event.query.id, stopped };
};

export default handler;
