import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createClient } from '#lib/client/client.ts';
import { followLog } from '#lib/client/log.ts';
import { startServer } from '../fetch/with-server.ts';

test('following goes on where the connection is cut, also when no line of the log has come yet', async () => {
  let calls = 0;
  await using gateway = await startServer((_request, response) => {
    calls += 1;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (calls === 1) response.write(': still here\n\n', () => response.destroy());
    else response.end('id: 9\ndata: the first\n\nid: 9\nevent: end\ndata: {}\n\n');
  });
  const { signal } = new AbortController();
  const client = createClient({ url: gateway.url, signal });
  assert.equal(await Array.fromAsync(followLog(client, 'x', signal)), ['the first']);
  assert.is(calls, 2);
});

test('following a gateway that was never there ends at once', async () => {
  const gateway = await startServer(() => {});
  const { url } = gateway;
  await gateway[Symbol.asyncDispose]();
  const { signal } = new AbortController();
  const following = Array.fromAsync(followLog(createClient({ url, signal }), 'x', signal));
  assert.match(await following.then(String, String), /cannot reach/);
});

test.run();
