import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { watchBroker } from '#lib/queue/watch-broker.ts';

test('a RabbitMQ that takes its time for the first answer is no outage, and one that hangs up is', async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on('error', () => {}).resume()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const lines: string[] = [];
  const options = { amqpUrl: `amqp://127.0.0.1:${port}`, name: 'test', retention: { seconds: 60, bytes: 1_000_000 } };
  const watch = await watchBroker({ ...options, log: createLog({ write: (line) => lines.push(line) }) });
  try {
    await sleep(2_000);
    assert.equal(lines, []);
    assert.is(watch.reachable(), false);
    server.close();
    for (const socket of sockets) socket.destroy();
    while (lines.length === 0) await sleep(20);
    assert.match(lines[0] ?? '', /"level":"error","message":"without RabbitMQ no build can be submitted or run"/);
  } finally {
    server.close();
    await watch[Symbol.asyncDispose]();
  }
});

test.run();
