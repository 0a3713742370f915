import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { type BaseImageOptions, fetchBaseImages } from '#lib/fetch/base-images.ts';
import type { RetryPolicy } from '#lib/http/retrying.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import { type Fault, type FaultyServer, startFaultyServer } from '../../lab/servers/faulty.ts';
import { failure } from '../failure.ts';
import { startFileServer, temporaryFolder, testClient, testIds } from '../unit/fetch/with-server.ts';

/** How a build copes with faults of its base image's server, from the first look to the last byte. */

const image = Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), randomBytes(300_000)]);
const other = Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), randomBytes(310_000)]);
const sums = `${createHash('sha256').update(image).digest('hex')} *image.img\n`;

/** A server of one image behind one that goes wrong, and one build's download from it. */
async function workshop(options: { readonly stallTimeoutMs?: number; readonly retry?: Partial<RetryPolicy> } = {}) {
  const files = {
    '/image.img': { content: image, etag: '"1"' },
    '/SHA256SUMS': { content: Buffer.from(sums), etag: '"1"' },
  };
  const sound = await startFileServer(files);
  const server = await startFaultyServer(sound.url);
  const folder = await temporaryFolder();
  const client = testClient({ stallTimeoutMs: options.stallTimeoutMs ?? 5000, retry: options.retry ?? {} });
  const notices: string[] = [];
  const work = join(folder.path, 'work');
  await mkdir(work);
  return {
    server,
    sound,
    files,
    notices,
    folder: folder.path,
    fetch: async (overrides: Partial<BaseImageOptions> = {}) => {
      const [image] = await fetchBaseImages({
        urlList: [`${server.url}/image.img`],
        client,
        cacheDirectory: join(folder.path, 'cache'),
        wanted: imageKinds.cloud.baseFile,
        cacheBytes: 10_000_000,
        maximumBytes: 10_000_000,
        workDirectory: work,
        unprivilegedIds: testIds,
        signal: new AbortController().signal,
        onNotice: (message) => notices.push(message),
        ...overrides,
      });
      return image;
    },
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
      await sound[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const imageRequests = ({ requests }: FaultyServer) => requests.filter((request) => request.endsWith('/image.img'));

/** A build looks at the first bytes of every URL before it downloads one. */
const look = /image\.img bytes=0-/;
const download = /image\.img$/;

const passing: readonly (readonly [string, Fault])[] = [
  ['is silent', { kind: 'silent' }],
  ['stalls within the first bytes', { kind: 'stall', afterBytes: 1000 }],
  ['stalls later', { kind: 'stall', afterBytes: 100_000 }],
  ['cuts the connection at once', { kind: 'cut', afterBytes: 0 }],
  ['cuts the connection within the first bytes', { kind: 'cut', afterBytes: 1000 }],
  ['cuts the connection later', { kind: 'cut', afterBytes: 100_000 }],
  ['drips', { kind: 'drip', everyMs: 20 }],
  ['answers 408', { kind: 'status', status: 408 }],
  ['answers 429', { kind: 'status', status: 429, headers: { 'retry-after': '0' } }],
  ['answers 500', { kind: 'status', status: 500 }],
  ['answers 502', { kind: 'status', status: 502 }],
  ['answers 503', { kind: 'status', status: 503 }],
  ['answers 503 with a date', { kind: 'status', status: 503, headers: { 'retry-after': new Date().toUTCString() } }],
];

for (const [what, fault] of passing) {
  test(`a server that ${what}, once for the look and once for the download, costs a retry and nothing else`, async () => {
    await using shop = await workshop({ stallTimeoutMs: 200 });
    shop.server.fault(look, fault, 1);
    shop.server.fault(download, fault, 1);
    const found = await shop.fetch();
    assert.equal(await readFile(found.path), image);
    assert.is(found.checksumsUrl, `${shop.server.url}/SHA256SUMS`);
    // An answer cut after 100 KB is enough for the look.
    assert.ok(imageRequests(shop.server).length >= 3);
  });
}

const lasting: readonly (readonly [
  what: string,
  fault: Fault,
  expected: { code: string; fault: string; retryable: boolean; message: RegExp; requests: number },
])[] = [
  [
    'is silent',
    { kind: 'silent' },
    {
      code: 'upstream.unreachable',
      fault: 'upstream',
      retryable: true,
      message: /did not answer in time/,
      requests: 3,
    },
  ],
  [
    'stalls',
    { kind: 'stall', afterBytes: 1000 },
    { code: 'upstream.unreachable', fault: 'upstream', retryable: true, message: /sent nothing for/, requests: 3 },
  ],
  [
    'drips',
    { kind: 'drip', everyMs: 20 },
    { code: 'upstream.unreachable', fault: 'upstream', retryable: true, message: /bytes a second/, requests: 3 },
  ],
  [
    'cuts every connection',
    { kind: 'cut', afterBytes: 1000 },
    { code: 'upstream.unreachable', fault: 'upstream', retryable: true, message: /was cut/, requests: 5 },
  ],
  [
    'answers 403',
    { kind: 'status', status: 403 },
    { code: 'upstream.forbidden', fault: 'request', retryable: false, message: /answered 403 Forbidden/, requests: 1 },
  ],
  [
    'answers 404',
    { kind: 'status', status: 404 },
    { code: 'image.not_found', fault: 'request', retryable: false, message: /answered 404 Not Found/, requests: 1 },
  ],
  [
    'answers 451',
    { kind: 'status', status: 451 },
    { code: 'upstream.unusable', fault: 'upstream', retryable: false, message: /answered 451/, requests: 1 },
  ],
  [
    'answers 429',
    { kind: 'status', status: 429 },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /answered 429/, requests: 5 },
  ],
  [
    'answers 500',
    { kind: 'status', status: 500 },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /answered 500/, requests: 5 },
  ],
  [
    'answers 503',
    { kind: 'status', status: 503 },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /answered 503/, requests: 5 },
  ],
  [
    'asks to be left alone for an hour',
    { kind: 'status', status: 503, headers: { 'retry-after': '3600' } },
    { code: 'upstream.status', fault: 'upstream', retryable: true, message: /for 3600 seconds/, requests: 1 },
  ],
  [
    'redirects in a loop',
    { kind: 'redirect', to: '/image.img' },
    { code: 'upstream.unusable', fault: 'upstream', retryable: false, message: /more than 5 times/, requests: 6 },
  ],
  [
    'redirects to nothing that is a URL',
    { kind: 'redirect', to: 'http://[' },
    { code: 'upstream.unusable', fault: 'upstream', retryable: false, message: /not a URL/, requests: 1 },
  ],
  [
    'redirects to a refused address',
    { kind: 'redirect', to: 'http://169.254.169.254/latest/meta-data/' },
    {
      code: 'egress.refused',
      fault: 'request',
      retryable: false,
      message: /image\.img redirects elsewhere, and 169/,
      requests: 1,
    },
  ],
];

for (const [what, fault, expected] of lasting) {
  test(`a server that ${what} ends it as ${expected.code}, and is named`, async () => {
    await using shop = await workshop({ stallTimeoutMs: 150 });
    shop.server.fault(/image\.img/, fault);
    const error = await failure(shop.fetch());
    const { code, retryable } = error;
    assert.equal(
      { code, fault: error.fault, retryable },
      { code: expected.code, fault: expected.fault, retryable: expected.retryable },
      error.message,
    );
    assert.match(error.message, expected.message);
    assert.match(error.message, `${shop.server.url}/image.img`);
    assert.is(imageRequests(shop.server).length, expected.requests);
    assert.equal(await readdir(join(shop.folder, 'work')), []);
  });

  test(`a server that ${what} is no matter where a mirror serves the image`, async () => {
    await using shop = await workshop({ stallTimeoutMs: 150, retry: { attempts: 2 } });
    shop.server.fault(/image\.img/, fault);
    const found = await shop.fetch({ urlList: [`${shop.server.url}/image.img`, `${shop.sound.url}/image.img`] });
    assert.equal(await readFile(found.path), image);
    assert.ok(shop.notices.some((notice) => notice.startsWith('passed over: ') && expected.message.test(notice)));
  });
}

test('a Retry-After is waited for', async () => {
  await using shop = await workshop();
  shop.server.fault(/image\.img/, { kind: 'status', status: 503, headers: { 'retry-after': '2' } }, 1);
  const beganMs = performance.now();
  await shop.fetch();
  assert.ok(performance.now() - beganMs >= 1990);
});

test('a host that DNS does not know is the request’s mistake', async () => {
  await using shop = await workshop();
  using client = testClient({
    egressOptions: { resolve: () => Promise.reject(Object.assign(new Error('no'), { code: 'ENOTFOUND' })) },
  });
  const error = await failure(shop.fetch({ client, urlList: ['http://typo.example/image.img'] }));
  assert.is(error.code, 'image.not_found');
  assert.match(error.message, 'http://typo.example/image.img: DNS knows no such host');
});

test('half an image, or more than the image, is not what SHA256SUMS says, and may be by the next time', async () => {
  for (const kind of ['short', 'long', 'other'] as const) {
    await using shop = await workshop();
    shop.server.fault(/image\.img/, { kind });
    // The look goes by what SHA256SUMS names; a file of another kind is not even an image.
    const error = await failure(
      shop.fetch({ urlList: [`${shop.server.url}/image.img`, `${shop.server.url}/SHA256SUMS`] }),
    );
    assert.is(error.code, kind === 'other' ? 'image.unsupported' : 'image.checksum', error.message);
    if (kind !== 'other') assert.ok(error.retryable && error.fault === 'upstream');
    shop.server.mend();
    assert.equal(await readFile((await shop.fetch()).path), image, `after ${kind}`);
  }
});

test('an image that changes between two range requests is fetched from its start, all of one version', async () => {
  await using shop = await workshop({ stallTimeoutMs: 500 });
  shop.server.fault(/SHA256SUMS/, { kind: 'status', status: 404 });
  shop.server.fault(download, { kind: 'stall', afterBytes: 100_000 });
  const found = await shop.fetch({
    onNotice(message) {
      shop.notices.push(message);
      if (!message.includes('going on at byte')) return;
      shop.files['/image.img'] = { content: other, etag: '"2"' };
      shop.server.mend();
      // It was there for neither version.
      shop.server.fault(/SHA256SUMS/, { kind: 'status', status: 404 });
    },
  });
  assert.equal(await readFile(found.path), other);
  assert.is(found.checksumsUrl, null);
  assert.ok(shop.notices.some((notice) => notice.endsWith('has changed or cannot be resumed; starting again')));
});

test('a SHA256SUMS that was asked for and cannot be had fails the build: nothing unverified is used', async () => {
  await using shop = await workshop({ retry: { attempts: 2 } });
  shop.server.fault(/SHA256SUMS/, { kind: 'status', status: 503 });
  const error = await failure(
    shop.fetch({ urlList: [`${shop.server.url}/image.img`, `${shop.server.url}/SHA256SUMS`] }),
  );
  assert.is(error.code, 'upstream.status');
});

test('the whole is bounded by the signal, however well the server drips', async () => {
  await using shop = await workshop();
  shop.server.fault(/image\.img/, { kind: 'drip', everyMs: 5 });
  const reason = new ImageBuilderError('build.timeout', 'too long');
  const stop = new AbortController();
  setTimeout(() => stop.abort(reason), 200);
  assert.is(await failure(shop.fetch({ signal: stop.signal })), reason);
});

test.run();
