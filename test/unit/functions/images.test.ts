import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ImagePage, StoredBuildReport } from '#lib/api/image-list.ts';
import { createCallers, digestToken, type Role } from '#lib/callers.ts';
import { createLog } from '#lib/log.ts';
import { createLedger } from '#lib/queue/ledger.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import { openStoredBuilds } from '#lib/store/stored-builds.ts';
import { images } from '../../../functions/images/images.ts';
import { finishedBuild, finishedLog, quiet } from '../../conformance/finished-build.ts';
import { buildEvent } from '../queue/build-event.ts';

/** The function over a real file store. */

let root: string;
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), 'images-'));
});
test.after(() => rm(root, { recursive: true, force: true }));

const holder = (name: string, role: Role) => ({ name, role, limits: {}, tokenDigests: [digestToken(name)] });
const callers = createCallers({
  token: null,
  tokenHolders: [
    holder('lander', 'submit'),
    holder('other', 'submit'),
    holder('auditor', 'read'),
    holder('admin', 'operate'),
  ],
});

async function open() {
  const folder = await mkdtemp(join(root, 'store-'));
  const store = createFileStore(folder);
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 20 });
  const lines: string[] = [];
  const handler = images({
    ledger: { get: (buildId) => ledger.get(buildId), ready: async () => {} },
    log: createLog({ level: 'debug', write: (line) => lines.push(line) }),
    callers,
    stored: openStoredBuilds([store]),
    storeDirectory: folder,
    session: null,
  });
  /** Calls the function; nobody has read a stream that it answers with. */
  const begin = async (
    method: string,
    path: string,
    caller: string,
    query: Record<string, string> = {},
    more: Record<string, string> = {},
  ) => {
    let status = 200;
    const answered: Record<string, string> = {};
    const context = {
      disconnected: new AbortController().signal,
      status: (code: number) => {
        status = code;
      },
      headers: (values: Readonly<Record<string, string>>) => Object.assign(answered, values),
    };
    const headers = { authorization: `Bearer ${caller}`, ...more };
    const event = { method, path, query, headers, body: undefined, rawBody: Buffer.alloc(0) };
    const body = await handler(event, context as never);
    return { status, headers: answered, body: body as (ImagePage & StoredBuildReport & { code?: string }) | Readable };
  };
  const call = async (...given: Parameters<typeof begin>) => {
    const { body, ...answer } = await begin(...given);
    if (body instanceof Readable) return { ...answer, content: await text(body), body: {} as never };
    return { ...answer, content: '', body };
  };
  const put = async (others = {}) => {
    const build = await finishedBuild(root, { bytes: 100, others });
    await store.put(...build.given, quiet);
    return build.buildId;
  };
  /** As an older version has stored it. */
  const forget = async (buildId: string) => {
    const path = join(folder, buildId, 'image.json');
    const { build: _, ...record } = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify(record));
  };
  const record = (buildId: string, state: 'running' | 'completed', sequence: number, caller = 'lander') =>
    ledger.apply({
      kind: 'event',
      id: randomUUID(),
      event: buildEvent({
        build_id: buildId,
        ticket_id: 'T-77',
        time: new Date().toISOString(),
        ...{ state, worker: 'w', attempt: 1, sequence },
      }),
      submission: { caller, request_sha256: '0'.repeat(64) },
    });
  return { folder, store, begin, call, put, forget, record, lines };
}

test('callers see their own images, operators and readers all; those whose caller is not known are for these alone', async () => {
  const { call, put, forget } = await open();
  const own = await put({ manifest: 'a' });
  const old = await put();
  await forget(old);
  const idsFor = async (caller: string) => (await call('GET', '/', caller)).body.images.map(({ build_id }) => build_id);
  assert.equal(await idsFor('lander'), [own]);
  assert.equal(await idsFor('other'), []);
  for (const caller of ['auditor', 'admin']) assert.equal((await idsFor(caller)).sort(), [own, old].sort());

  const { status, body } = await call('GET', `/${own}`, 'lander');
  assert.is(status, 200);
  StoredBuildReport.parse(body);
  assert.equal([body.caller, body.ticket_id, body.image?.store, body.artifacts.length], ['lander', 'T-77', 'file', 1]);
  for (const [id, caller] of [
    [own, 'other'],
    [old, 'lander'],
    [randomUUID(), 'admin'],
    ['../../etc', 'admin'],
  ] as const) {
    const answer = await call('GET', `/${encodeURIComponent(id)}`, caller);
    assert.equal([answer.status, answer.body.code], [404, 'build.not_found']);
  }
  assert.is((await call('GET', '/', 'nobody')).status, 401);
});

test('a file beside an image is for those who may see the build, by the name that the build has for it', async () => {
  const { call, put, folder } = await open();
  const own = await put({ manifest: 'hello\t2.10-3\n', changes: '' });
  const { artifacts } = (await call('GET', `/${own}`, 'lander')).body;
  for (const { name, role } of artifacts) {
    const { status, headers, content } = await call('GET', `/${own}/files/${name}`, 'lander');
    const wanted = role === 'manifest' ? 'hello\t2.10-3\n' : '';
    assert.equal([status, content, headers['content-length']], [200, wanted, String(wanted.length)]);
    assert.equal([headers['content-type'], headers['content-disposition']], ['text/plain', 'attachment']);
  }
  const name = artifacts.find(({ role }) => role === 'manifest')?.name ?? '';
  const refused: [string, string, string, number, string][] = [
    ['GET', `/${own}/files/${name}`, 'other', 404, 'build.not_found'],
    ['GET', `/${own}/files/${name}`, 'nobody', 401, 'request.unauthorized'],
    ['GET', `/${own}/files/image.json`, 'lander', 404, 'request.not_found'],
    ['GET', `/${own}/files/..%2f${own}%2fimage.json`, 'lander', 404, 'request.not_found'],
    ...[
      '__proto__',
      'constructor',
      '.',
      '..',
      '%2e%2e',
      '%00',
      '*',
      'x'.repeat(100_000),
      `${name}%00`,
      `%2f${name}`,
    ].map((odd): [string, string, string, number, string] => [
      ...(['GET', `/${own}/files/${odd}`, 'lander', 404, 'request.not_found'] as const),
    ]),
    ['GET', `/${'0'.repeat(100_000)}/files/${name}`, 'lander', 404, 'build.not_found'],
    ['GET', `/%00/files/${name}`, 'lander', 404, 'build.not_found'],
    ['GET', `/__proto__/log`, 'lander', 404, 'build.not_found'],
    ['GET', `/${own}/files`, 'lander', 404, 'request.not_found'],
    ['GET', `/${own}/files/${name}/x`, 'lander', 404, 'request.not_found'],
    ['DELETE', `/${own}/files/${name}`, 'lander', 405, 'request.method'],
  ];
  for (const [method, path, caller, status, code] of refused) {
    const answer = await call(method, path, caller);
    assert.equal([answer.status, answer.body.code], [status, code], `${method} ${path} ${caller}`);
  }
  await rm(join(folder, own, name));
  assert.is((await call('GET', `/${own}/files/${name}`, 'lander')).status, 404, 'in a folder of another machine');
});

test('the log in the store is text, a part of it, or events that end: whole, or from where a reader was', async () => {
  const { call, put, store, record, folder } = await open();
  const own = await put();
  const packed = gzipSync('the first\nthe second\nwithout an end');
  const name = `${own}.log.gz`;
  const path = join(root, name);
  await writeFile(path, packed);
  const checksums = { sha256: 'a'.repeat(64), sha512: 'a'.repeat(128) };
  const { origin } = await finishedLog(root, own, '');
  const log = { role: 'log', name, path, sizeBytes: packed.length, checksums, mediaType: 'application/gzip' } as const;
  await store.keepLog(log, origin, quiet);

  const plain = await call('GET', `/${own}/log`, 'lander');
  assert.equal([plain.status, plain.headers['content-type']], [200, 'text/plain; charset=utf-8']);
  assert.is(plain.content, 'the first\nthe second\nwithout an end');
  for (const [range, status, content, header] of [
    ['bytes=10-', 206, 'the second\nwithout an end', 'bytes 10-34/35'],
    ['bytes=4-8', 206, 'first', 'bytes 4-8/35'],
    ['bytes=-3', 206, 'end', 'bytes 32-34/35'],
    ['lines=1-', 200, plain.content, undefined],
  ] as const) {
    const part = await call('GET', `/${own}/log`, 'lander', {}, { range });
    assert.equal([part.status, part.content, part.headers['content-range']], [status, content, header], range);
    assert.is(part.headers['content-length'], String(content.length));
  }
  const behind = await call('GET', `/${own}/log`, 'lander', {}, { range: 'bytes=35-' });
  assert.equal([behind.status, behind.headers['content-range']], [416, 'bytes */35']);
  const followed = await call('GET', `/${own}/log`, 'lander', { follow: '' });
  assert.is(followed.headers['content-type'], 'text/event-stream');
  const events =
    'retry: 1000\n\nid: 10\ndata: the first\n\nid: 21\ndata: the second\n\nid: 35\ndata: without an end\n\n';
  const end = (state: string | null) => `id: 35\nevent: end\ndata: ${JSON.stringify({ build_id: own, state })}\n\n`;
  assert.is(followed.content, events + end(null), 'the state is in RabbitMQ no more');
  record(own, 'running', 1);
  record(own, 'completed', 2);
  assert.is((await call('GET', `/${own}/log`, 'lander', { follow: '1' })).content, events + end('completed'));
  const rest = await call('GET', `/${own}/log`, 'lander', { follow: '' }, { 'last-event-id': '10' });
  assert.is(rest.content, (events + end('completed')).replace('id: 10\ndata: the first\n\n', ''));

  const refused: [string, string, string, number][] = [
    ['GET', `/${own}/log`, 'other', 404],
    ['GET', `/${own}/log/x`, 'lander', 404],
    ['GET', `/${randomUUID()}/log`, 'admin', 404],
    ['GET', `/${await put()}/log`, 'lander', 404],
    ['DELETE', `/${own}/log`, 'lander', 405],
  ];
  for (const [method, below, caller, status] of refused)
    assert.is((await call(method, below, caller)).status, status, `${method} ${below}`);
  assert.is((await call('GET', `/${own}/log`, 'lander', { follows: '' })).status, 400);
  await rm(join(folder, own, name));
  assert.is((await call('GET', `/${own}/log`, 'lander')).status, 404);
});

test('whoever asks for a part of a log takes a place as soon as the log is read', async () => {
  const { begin, call, put, store, folder } = await open();
  const own = await put();
  const { log, origin } = await finishedLog(root, own, 'a log\n');
  await store.keepLog(log, origin, quiet);
  const range = { range: 'bytes=2-' };
  const read: Readable[] = [];
  for (let taken = 0; taken < 100; taken += 1) {
    const { body } = await begin('GET', `/${own}/log`, 'lander');
    if (body instanceof Readable) read.push(body);
  }
  assert.is(read.length, 100);
  // Nobody can read it.
  await writeFile(join(folder, own, log.name), 'damage');
  const refused = await call('GET', `/${own}/log`, 'lander', {}, range);
  assert.equal([refused.status, refused.headers['retry-after']], [429, '5']);
  for (const body of read) body.destroy();
});

test('the owner of an image that an older version has stored is known as long as its events are', async () => {
  const { call, put, forget, record } = await open();
  const old = await put();
  await forget(old);
  record(old, 'running', 1);
  record(old, 'completed', 2);
  assert.is((await call('GET', `/${old}`, 'lander')).status, 200);
  assert.is((await call('DELETE', `/${old}`, 'other')).status, 404);
  assert.is((await call('DELETE', `/${old}`, 'lander')).status, 204);
});

test('lists go page by page, past the pages that are of others', async () => {
  const { call, put, store } = await open();
  const own = await put();
  for (let count = 0; count < 3; count += 1) {
    const { log, origin } = await finishedLog(root, randomUUID(), 'a log\n');
    await store.keepLog(log, { ...origin, caller: 'other' }, quiet);
  }
  let cursor: string | null = '';
  const seen: string[] = [];
  for (let pages = 0; cursor !== null && pages < 10; pages += 1) {
    const { body }: { body: ImagePage } = await call('GET', '/', 'lander', {
      limit: '1',
      ...(cursor === '' ? {} : { cursor }),
    });
    seen.push(...body.images.map(({ build_id }) => build_id));
    cursor = body.next_cursor;
  }
  assert.equal([seen, cursor], [[own], null]);
  for (const query of [{ limit: '0' }, { limit: '101' }, { cursor: 'x' }, { state: 'failed' }]) {
    assert.is((await call('GET', '/', 'lander', query as Record<string, string>)).status, 400);
  }
});

test('a deletion takes image, files and log, once; readers and strangers delete nothing', async () => {
  const { call, put, store, folder } = await open();
  const id = await put({ manifest: 'a' });
  const { log, origin } = await finishedLog(root, id, 'the log\n');
  await store.keepLog(log, origin, quiet);
  assert.equal((await call('DELETE', `/${id}`, 'auditor')).body.code, 'request.forbidden');
  assert.equal((await call('DELETE', `/${id}`, 'other')).body.code, 'build.not_found');
  assert.ok(await store.find(id, quiet));
  assert.is((await call('DELETE', `/${id.toUpperCase()}`, 'lander')).status, 204);
  assert.equal(await readdir(folder), []);
  assert.is((await call('DELETE', `/${id}`, 'lander')).status, 404);
  assert.is((await call('POST', `/${id}`, 'admin')).status, 405);
  assert.is((await call('GET', `/${id}/more`, 'admin')).status, 404);
});

test('while its build runs, nothing of it is deleted', async () => {
  const { call, put, record, store } = await open();
  const id = await put();
  record(id, 'running', 1);
  const refused = await call('DELETE', `/${id}`, 'lander');
  assert.equal([refused.status, refused.body.code], [409, 'build.unfinished']);
  assert.is((await call('DELETE', `/${id}`, 'other')).status, 404);
  assert.ok(await store.find(id, quiet));
  record(id, 'completed', 2);
  assert.is((await call('DELETE', `/${id}`, 'lander')).status, 204);
});

test('a call leaves an audit line with its caller and the build, and no token', async () => {
  const { call, put, lines } = await open();
  const id = await put();
  await call('DELETE', `/${id}`, 'admin');
  const audit = lines.map((line) => JSON.parse(line)).filter(({ level }) => level === 'audit');
  assert.equal(
    audit.map(({ caller, method, path, build_id, status }) => [caller, method, path, build_id, status]),
    [['admin', 'DELETE', '/{build_id}', id, 204]],
  );
  assert.not.match(lines.join('\n'), 'Bearer');
});

test.run();
