import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import http, { type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FilePart } from '#lib/http/file-part.ts';
import { UpstreamError } from '#lib/http/upstream-error.ts';
import { createTransport } from '#lib/store/openstack/transport.ts';
import { rejection } from '../fetch/with-server.ts';

/** Uploads against a server that does on purpose what real ones do by accident. */

const megabyte = 1024 * 1024;
const never = new AbortController().signal;
const transport = createTransport({
  connectTimeoutMs: 2_000,
  stallTimeoutMs: 300,
  userAgent: 'test',
});
let directory = '';
let path = '';
const content = Buffer.alloc(16 * megabyte, 'content ');

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'openstack-transport-'));
  path = join(directory, 'image');
});
test.before.each(() => writeFile(path, content));
test.after(() => rm(directory, { recursive: true, force: true }));

interface Received {
  readonly bytes: () => number;
  /** Whether the body came to an end in order. */
  readonly complete: () => boolean;
}

async function serve(listener: (received: Received) => RequestListener, continues = true) {
  let bytes = 0;
  let complete = false;
  const received = { bytes: () => bytes, complete: () => complete };
  const answer = listener(received);
  const handle: RequestListener = (request, response) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      complete = request.complete;
    });
    request.on('error', () => undefined);
    answer(request, response);
  };
  const server = http.createServer(handle);
  server.on('checkContinue', (request, response) => {
    if (continues) response.writeContinue();
    handle(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/images/1/file`,
    received,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const upload = (url: string, part: Partial<FilePart> = {}, signal = never) =>
  transport.send({
    server: 'Glance',
    method: 'PUT',
    url,
    headers: { 'x-auth-token': 'secret-token' },
    file: { path, startByte: 0, bytes: content.length, ...part },
    signal,
  });

test('a part of a file arrives whole, with its length, its digest and progress', async () => {
  const chunks: Buffer[] = [];
  let length: string | undefined;
  await using server = await serve(() => (request, response) => {
    length = request.headers['content-length'];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => response.writeHead(201, { etag: 'x' }).end('done'));
  });
  const digest = createHash('md5');
  const seen: number[] = [];
  const part = { startByte: 3, bytes: 5 * megabyte, digest, onProgress: (sent: number) => seen.push(sent) };
  const answer = await upload(server.url, part);
  const expected = content.subarray(3, 3 + 5 * megabyte);
  assert.is(answer.status, 201);
  assert.is(answer.text, 'done');
  assert.is(length, String(5 * megabyte));
  assert.ok(Buffer.concat(chunks).equals(expected));
  assert.is(digest.digest('hex'), createHash('md5').update(expected).digest('hex'));
  assert.is(seen.at(-1), 5 * megabyte);
});

test('a server that refuses is sent nothing of the body', async () => {
  await using server = await serve(() => (_request, response) => response.writeHead(413).end('too large'), false);
  const answer = await upload(server.url);
  assert.is(answer.status, 413);
  assert.is(answer.text, 'too large');
  assert.is(server.received.bytes(), 0);
});

test('a server that does not know "100 Continue" gets the body nevertheless', async () => {
  await using server = await serve(
    () => (request, response) => void request.on('end', () => response.writeHead(204).end()),
    false,
  );
  assert.is((await upload(server.url)).status, 204);
  assert.is(server.received.bytes(), content.length);
});

test('a server that answers 417 gets the request again without Expect, and later ones without it at once', async () => {
  const expected: boolean[] = [];
  await using server = await serve(
    () => (request, response) => {
      expected.push(request.headers.expect !== undefined);
      if (request.headers.expect !== undefined) response.writeHead(417).end();
      else request.on('end', () => response.writeHead(204).end());
    },
    false,
  );
  const digest = createHash('md5');
  assert.is((await upload(server.url, { digest })).status, 204);
  assert.is(digest.digest('hex'), createHash('md5').update(content).digest('hex'), 'no byte counts twice');
  assert.is(server.received.bytes(), content.length);
  assert.is((await upload(server.url)).status, 204);
  assert.equal(expected, [true, false, false]);
});

test('a file that ends early never ends the body in order', async () => {
  await using server = await serve(() => () => undefined);
  let shortened = false;
  const error = await rejection(
    upload(server.url, {
      onProgress: () => {
        if (!shortened) void truncate(path, 8 * megabyte);
        shortened = true;
      },
    }),
  );
  assert.match(error.message, 'has become shorter');
  assert.not.instance(error, UpstreamError, 'not worth trying again');
  assert.not.ok(server.received.complete());
});

test('a file that is missing fails with the reason', async () => {
  await using server = await serve(() => () => undefined);
  const error = await rejection(upload(server.url, { path: join(directory, 'missing') }));
  assert.is((error as NodeJS.ErrnoException).code, 'ENOENT');
  assert.not.ok(server.received.complete());
});

test('a server that takes nothing any more is given up', async () => {
  await using server = await serve(() => (request) => void request.pause());
  const error = await rejection(upload(server.url));
  assert.instance(error, UpstreamError);
  assert.match(error.message, 'took no byte for');
  assert.ok((error as UpstreamError).transient);
  assert.not.ok((error as UpstreamError).bodySent);
});

test('a cut is transient, and known to have come before or after the last byte', async () => {
  await using early = await serve((received) => (request) => {
    request.on('data', () => received.bytes() > megabyte && request.destroy());
  });
  const before = (await rejection(upload(early.url))) as UpstreamError;
  assert.match(before.message, 'the connection was cut');
  assert.equal([before.transient, before.bodySent, before.code], [true, false, 'store.failed']);

  await using late = await serve(() => (request) => void request.on('end', () => request.destroy()));
  const after = (await rejection(upload(late.url))) as UpstreamError;
  assert.equal([after.transient, after.bodySent], [true, true]);
});

test('an answer without end is broken off, to a question and to an upload', async () => {
  await using server = await serve(() => (request, response) => {
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(megabyte)));
    };
    response.on('drain', more);
    request.resume().on('end', more);
  });
  const question = { server: 'Glance', url: server.url, headers: {}, method: 'GET', signal: never } as const;
  const asked = await rejection(transport.send(question));
  const uploaded = await rejection(upload(server.url));
  for (const error of [asked, uploaded]) {
    assert.instance(error, UpstreamError);
    assert.match((error as UpstreamError).message, /^Glance at .* answered with more than 16777216 bytes/);
    assert.not((error as UpstreamError).transient);
  }
});

test('an abort ends an upload with its reason', async () => {
  await using server = await serve(() => () => undefined);
  const controller = new AbortController();
  const reason = new Error('cancelled');
  const onProgress = (sent: number) => sent > megabyte && controller.abort(reason);
  assert.is(
    await rejection(upload(server.url, { onProgress: (sent) => void onProgress(sent) }, controller.signal)),
    reason,
  );
  assert.not.ok(server.received.complete());
});

test('nothing is redirected, and no error shows the token', async () => {
  await using server = await serve(() => (_request, response) => response.writeHead(302, { location: '/other' }).end());
  const request = {
    server: 'Glance',
    method: 'GET',
    url: server.url,
    headers: { 'x-auth-token': 'secret-token' },
  } as const;
  assert.is((await transport.send({ ...request, signal: never })).status, 302);
  const url = 'http://127.0.0.1:1/';
  for (const promise of [transport.send({ ...request, url, signal: never }), upload(url)]) {
    const error = await rejection(promise);
    assert.match(error.message, 'Glance at http://127.0.0.1:1/: the connection was refused');
    assert.not.match(inspect(error, { depth: 10, showHidden: true }), 'secret-token');
  }
});

test.run();
