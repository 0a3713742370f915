import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startFlight } from '#lib/fetch/flight.ts';
import { startServer, temporaryFolder, testClient } from './with-server.ts';

const never = new AbortController().signal;

test('a reader who joins while the download is being cached reads on when those before have left', async () => {
  await using folder = await temporaryFolder();
  await using server = await startServer((_request, response) => response.writeHead(200).end('the content'));
  using client = testClient();
  const arrived = Promise.withResolvers<void>();
  const cached = Promise.withResolvers<void>();
  const flight = startFlight({
    url: `${server.url}/a.deb`,
    client,
    partPath: join(folder.path, 'part'),
    conditions: {},
    async onArrival(_download, partPath) {
      arrived.resolve();
      await cached.promise;
      await rename(partPath, join(folder.path, 'whole'));
    },
    onEnd() {},
  });
  const first = await flight.join(never);
  await arrived.promise;
  const left = first[Symbol.asyncDispose]();
  await using second = await flight.join(never);
  cached.resolve();
  await left;
  assert.is(String(await buffer(second.read(0, Number.POSITIVE_INFINITY))), 'the content');
});

test.run();
