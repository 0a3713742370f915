import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createClient } from '#lib/client/client.ts';
import { startServer } from '../fetch/with-server.ts';

test('a log that another function sends is followed there with the token, and one on another server without it', async () => {
  const seen: [string | undefined, string | undefined][] = [];
  const events = 'retry: 1000\n\nid: 10\ndata: the first\n\nid: 10\nevent: end\ndata: {}\n\n';
  await using elsewhere = await startServer((request, response) => {
    seen.push([request.url, request.headers.authorization]);
    response.end(events);
  });
  for (const [location, asked] of [
    ['../../images/x/log?follow', '/prefix/api/v1/images/x/log?follow'],
    [`${elsewhere.url}/log`, '/log'],
  ] as const) {
    await using gateway = await startServer((request, response) => {
      seen.push([request.url, request.headers.authorization]);
      if (request.url?.includes('/build_image/')) response.writeHead(307, { location });
      response.end(events);
    });
    const token = { text: 'a-token', file: 'imagebuilder-token' };
    const client = createClient({ url: `${gateway.url}/prefix`, token, signal: new AbortController().signal });
    const found = await Array.fromAsync(client.logEvents('x', undefined));
    assert.equal(
      found.map(({ event, data }) => [event, data]),
      [
        ['message', 'the first'],
        ['end', '{}'],
      ],
    );
    const bearer = location.startsWith('..') ? 'Bearer a-token' : undefined;
    assert.equal(seen.splice(0), [
      ['/prefix/api/v1/build_image/x/log?follow', 'Bearer a-token'],
      [asked, bearer],
    ]);
  }
});

test.run();
