import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StoredBuild, StoredImage, StoredOther } from '#lib/store/artifact.ts';
import { comparePositions, type Position } from '#lib/store/listing.ts';
import type { Store } from '#lib/store/store.ts';
import { finishedBuild, finishedLog, never, quiet } from './finished-build.ts';

interface Subject {
  everything(): Promise<string[]>;
  lose(stored: StoredOther): Promise<void>;
  loseImage(stored: StoredImage): Promise<void>;
  /** Puts things of others in the store's place, under the names of builds too, this one among them. */
  putForeign(buildId: string): Promise<void>;
}

/** All builds of the store, page by page. */
async function listAll(store: Store, limit: number): Promise<StoredBuild[]> {
  const found: StoredBuild[] = [];
  for (let after: Position | null = null; ; ) {
    const page = await store.list({ after, limit, signal: never });
    assert.ok(page.builds.length <= limit);
    found.push(...page.builds);
    if (page.next === null) return found;
    if (after !== null) assert.ok(comparePositions(page.next, after) > 0, 'each page goes on');
    after = page.next;
  }
}

/** Adds the tests of lists and of deletion; `connect` gives the store as a worker of its own has it. */
export function listConformance(subject: () => Subject, connect: () => Promise<Store>): void {
  let directory: string;
  test.before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'store-list-'));
  });
  test.after(() => rm(directory, { recursive: true, force: true }));

  const keepLog = async (store: Store, buildId: string) => {
    const { log, origin } = await finishedLog(directory, buildId, `the log of ${buildId}\n`);
    return await store.keepLog(log, origin, quiet);
  };

  test('builds are listed the newest first, page by page, with all that is there; things of others are neither listed nor removed', async () => {
    const store = await connect();
    const earlier = (await listAll(store, 50)).map(({ buildId }) => buildId);
    const finished = await finishedBuild(directory, { others: { manifest: 'a', changes: '{}' } });
    const failed = randomUUID();
    const plain = await finishedBuild(directory);
    const foreign = randomUUID();
    await subject().putForeign(foreign);
    const foreignThings = await subject().everything();
    const [image, ...others] = await store.put(...finished.given, quiet);
    const log = await keepLog(store, finished.buildId);
    const onlyLog = await keepLog(store, failed);
    await store.put(...plain.given, quiet);

    const listed = await listAll(store, 50);
    assert.equal(
      listed.map(({ buildId }) => buildId).sort(),
      [...earlier, finished.buildId, failed, plain.buildId].sort(),
    );
    assert.equal(listed, listed.toSorted(comparePositions));
    assert.equal(await listAll(store, 2), listed);
    assert.equal(await listAll(store, 1), listed);

    const entry = (buildId: string) => listed.find((build) => build.buildId === buildId);
    assert.equal(entry(finished.buildId), {
      ...{ buildId: finished.buildId, ticketId: 'T-77', series: 'noble', caller: 'lander' },
      ...{ storedAt: entry(finished.buildId)?.storedAt, state: 'whole', image },
      artifacts: [...others, log].sort((one, other) => ((one?.name ?? '') < (other?.name ?? '') ? -1 : 1)),
    });
    assert.equal([entry(failed)?.image, entry(failed)?.caller, entry(failed)?.artifacts], [null, 'lander', [onlyLog]]);
    assert.equal([entry(plain.buildId)?.state, entry(plain.buildId)?.artifacts], ['whole', []]);
    assert.is(entry(failed)?.state, 'log_only');
    for (const build of listed) assert.equal(await store.describe(build.buildId, quiet), build);

    assert.is(await store.describe(foreign, quiet), null);
    for (const buildId of [finished.buildId, failed, plain.buildId, foreign]) await store.remove(buildId, quiet);
    assert.equal(await subject().everything(), foreignThings);
    assert.is(await store.describe(finished.buildId, quiet), null);
  });

  test('the rest of a deletion that was interrupted still says whose it is, and a repeat removes it', async () => {
    const before = await subject().everything();
    const store = await connect();
    const finished = await finishedBuild(directory, { others: { manifest: 'a', changes: '{}' } });
    const [, lost, left] = await store.put(...finished.given, quiet);
    assert.ok(lost && left);
    await subject().lose(lost);
    const rest = await store.describe(finished.buildId, quiet);
    assert.equal([rest?.caller, rest?.state, rest?.artifacts], ['lander', 'files_missing', [left]]);
    assert.ok((await listAll(store, 50)).some(({ buildId }) => buildId === finished.buildId));
    await store.remove(finished.buildId, quiet);
    await store.remove(finished.buildId, quiet);
    assert.equal(await subject().everything(), before);
  });

  test('the files of an image that somebody has deleted behind our back are listed once, as what they are, and can be deleted', async () => {
    const before = await subject().everything();
    const store = await connect();
    const put = async (withLog: boolean) => {
      const finished = await finishedBuild(directory, { others: { manifest: 'a', changes: '{}' } });
      const [image, ...others] = await store.put(...finished.given, quiet);
      const log = withLog ? await keepLog(store, finished.buildId) : null;
      return { buildId: finished.buildId, image, names: [...others, ...(log ? [log] : [])].map(({ name }) => name) };
    };
    const builds = [await put(true), await put(false), await put(true)];
    const [kept, ...lost] = builds;
    for (const { image } of lost) await subject().loseImage(image);
    const listed = await listAll(store, 50);
    for (const limit of [1, 2]) assert.equal(await listAll(store, limit), listed);
    for (const { buildId, names } of lost) {
      const entries = listed.filter((build) => build.buildId === buildId);
      assert.equal(
        entries.map(({ state, image, caller, series }) => [state, image, caller, series]),
        [['image_missing', null, 'lander', 'noble']],
      );
      assert.equal(entries[0]?.artifacts.map(({ name }) => name).sort(), names.sort());
      assert.equal(await store.describe(buildId, quiet), entries[0]);
      assert.is(await store.find(buildId, quiet), null);
    }
    assert.equal(
      listed.filter(({ buildId }) => buildId === kept?.buildId).map(({ state }) => state),
      ['whole'],
    );
    for (const { buildId } of builds) await store.remove(buildId, quiet);
    assert.equal(await subject().everything(), before);
  });
}
