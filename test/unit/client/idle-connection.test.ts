import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleAccepted } from '#lib/api/examples.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { createClient } from '#lib/client/client.ts';

/** Says that a connection may be used again, and cuts it when it is, as a server does whose patience ends in that moment. */
async function impatientServer() {
  const body = JSON.stringify(exampleAccepted);
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(
        `HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nkeep-alive: timeout=60\r\n\r\n${body}`,
      );
      socket.once('data', () => socket.destroy());
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.dispose]: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

test('a call does not depend on an idle connection that the server may be closing', async () => {
  using server = await impatientServer();
  const client = createClient({ url: server.url, signal: new AbortController().signal });
  const request = parseBuildRequest({
    ticket_id: 't',
    base_image: { image_type: 'cloud', url_list: ['http://127.0.0.1/image'], series: 'jammy' },
    progress_trigger: 'p',
  });
  for (let call = 1; call <= 3; call += 1)
    assert.is((await client.submit(request)).accepted.build_id, exampleAccepted.build_id, `call ${call}`);
});

test.run();
