import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StoredImage, StoredOther } from '#lib/store/artifact.ts';
import type { Store } from '#lib/store/store.ts';
import { finishedBuild, finishedLog, quiet } from './finished-build.ts';

interface Subject {
  everything(): Promise<string[]>;
  read(stored: StoredImage | StoredOther): Promise<Buffer>;
}

/** Adds the tests of the logs of builds; `connect` gives the store as a worker of its own has it. */
export function logConformance(subject: () => Subject, connect: () => Promise<Store>): void {
  let directory: string;
  test.before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'store-log-'));
  });
  test.after(() => rm(directory, { recursive: true, force: true }));

  test('the log of a build without an image is kept, replaced and removed, and is no image', async () => {
    const before = await subject().everything();
    const store = await connect();
    const buildId = randomUUID();
    assert.is(await store.findLog(buildId, quiet), null);
    for (const text of ['the first\n', 'the second, which is longer\n']) {
      const { log, origin } = await finishedLog(directory, buildId, text);
      const { sizeBytes, checksums } = log;
      const kept = await store.keepLog(log, origin, quiet);
      assert.ok(kept);
      assert.equal([kept.role, kept.name, kept.media_type], ['log', log.name, 'application/gzip']);
      assert.equal([kept.size, kept.checksums], [sizeBytes, checksums]);
      assert.is(String(await subject().read(kept)), text);
      await store.discard(buildId);
      assert.equal(await (await connect()).findLog(buildId, quiet), kept);
      assert.is(await store.find(buildId, quiet), null);
    }
    await store.remove(buildId, quiet);
    assert.equal(await subject().everything(), before);
  });

  test('a log is kept beside the artifacts of its build, which stay as they are; a build that has one can still be put', async () => {
    const before = await subject().everything();
    const store = await connect();
    const finished = await finishedBuild(directory);
    const { buildId } = finished;
    const keep = async (text: string) => {
      const { log, origin } = await finishedLog(directory, buildId, text);
      return await store.keepLog(log, origin, quiet);
    };
    await keep('of an attempt that failed\n');
    const stored = await store.put(...finished.given, quiet);
    const kept = await keep('of the attempt that completed\n');
    assert.equal(await store.find(buildId, quiet), stored);
    assert.equal(await store.findLog(buildId, quiet), kept);
    await store.remove(buildId, quiet);
    assert.equal(await subject().everything(), before);
  });

  test('a log whose way to the store is cut short leaves nothing', async () => {
    const before = await subject().everything();
    const { log, origin } = await finishedLog(directory, randomUUID(), 'the log\n');
    const reason = new Error('too late');
    await (await connect()).keepLog(log, origin, { signal: AbortSignal.abort(reason) }).then(
      () => assert.unreachable(),
      (error) => assert.is(error, reason),
    );
    assert.equal(await subject().everything(), before);
  });
}
