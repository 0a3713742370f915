import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { openAttemptLog } from '#lib/pipeline/attempt-log.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import type { Store } from '#lib/store/store.ts';

let root: string;
test.before.each(async () => {
  root = await mkdtemp(join(tmpdir(), 'attempt-log-'));
});
test.after.each(() => rm(root, { recursive: true, force: true }));

const build = {
  buildId: '0f3c2d1e-7a58-4c7b-9a3b-6a5f0f1e2d3c',
  attempt: 1,
  ticketId: 'T-77',
  series: 'noble',
  caller: 'lander',
  imageType: 'cloud' as const,
};

function open(options: { stopping?: AbortSignal; store?: Store; warnings?: string[]; live?: string[] } = {}) {
  const { stopping = new AbortController().signal, store = createFileStore(join(root, 'store')) } = options;
  return openAttemptLog(build, stopping, {
    workDirectory: join(root, 'work'),
    maximumLogBytes: 1024 ** 2,
    storeFor: () => store,
    secrets: ['canary-secret', 'abc'],
    live: { add: (line) => options.live?.push(line), close: async (isEnd) => void options.live?.push(`end: ${isEnd}`) },
    log: createLog({ write: (line) => options.warnings?.push(line) }),
  });
}

test('the log of an attempt has the time and step of each line, no secret of the worker, and leaves nothing else', async () => {
  const live: string[] = [];
  {
    await using log = await open({ live });
    log.add('started', null);
    log.add('the key is canary-secret, and abc is a word', 'install');
    const kept = await log.keep();
    assert.equal([kept?.role, kept?.name, kept?.media_type], ['log', 'noble-T-77-0f3c2d1e.log.gz', 'application/gzip']);
    const lines = gunzipSync(await readFile(fileURLToPath(kept?.location ?? ''))).toString();
    assert.is(`${live.slice(0, -1).join('\n')}\n`, lines, 'the live log has the same bytes');
    assert.is(live.at(-1), 'end: true');
    assert.equal(
      lines.replaceAll(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/gm, 'TIME'),
      'TIME - started\nTIME install the key is [secret], and abc is a word\n',
    );
  }
  assert.equal(await readdir(join(root, 'work')), []);
});

test('an attempt without a step has no log, or that of the attempt which has stored the image', async () => {
  await using first = await open();
  first.add('started', null);
  assert.is(await first.keep(), null);
  await using second = await open();
  second.add('fetching', 'fetch');
  const kept = await second.keep();
  await using third = await open();
  third.add('the image is there', null);
  assert.equal(await third.keep(), kept);
});

test('a store that fails or does not answer a worker that stops ends nothing but the log', async () => {
  const warnings: string[] = [];
  const failing = { ...createFileStore(root), keepLog: () => Promise.reject(new Error('the store is on fire')) };
  await using one = await open({ store: failing, warnings });
  one.add('fetching', 'fetch');
  assert.is(await one.keep(), null);
  assert.match(warnings.join(), 'on fire');

  const stopping = new AbortController();
  const silent = { ...createFileStore(root), keepLog: () => new Promise<null>(() => {}) };
  await using two = await open({ store: silent, stopping: stopping.signal });
  two.add('fetching', 'fetch');
  const kept = two.keep();
  stopping.abort(new Error('the worker stops'));
  assert.is(await kept, null);
});

test('where lines cannot be written, the build goes on without a log', async () => {
  const warnings: string[] = [];
  await using log = await open({ warnings });
  await rm(join(root, 'work'), { recursive: true });
  for (let line = 0; line < 300; line += 1) log.add('x'.repeat(4000), 'install');
  assert.is(await log.keep(), null);
  assert.is(warnings.length, 1, 'said once');
});

test.run();
