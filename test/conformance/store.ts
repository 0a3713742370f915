import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StoredImage, StoredOther } from '#lib/store/artifact.ts';
import { checkStores } from '#lib/store/check.ts';
import { chooseStores } from '#lib/store/choose.ts';
import type { Store } from '#lib/store/store.ts';
import { failure } from '../failure.ts';
import { afterBytes, allText, finishedBuild, MiB, never, quiet } from './finished-build.ts';
import { type Environment, storeInputs } from './store-inputs.ts';
import { listConformance } from './store-list.ts';
import { logConformance } from './store-log.ts';

/** The promises of `Store`, shown for one implementation against the real thing. */

export interface StoreUnderTest {
  /** Variables by which a worker has this store. */
  readonly environment: Environment;
  /** Variables beside these with which the store is out of bounds for the worker. */
  readonly withoutRights: Environment;
  /** Texts that no log line and no error may have. */
  readonly secrets: readonly string[];
  /** An image that is still on its way when `middleBytes` of it are sent. */
  readonly imageBytes: number;
  readonly middleBytes: number;
  /** Names of everything that is stored, of all builds. */
  everything(): Promise<string[]>;
  read(stored: StoredImage | StoredOther): Promise<Buffer>;
  /** Removes one file behind the store's back. */
  lose(stored: StoredOther): Promise<void>;
  /** As `lose`, of the image. */
  loseImage(stored: StoredImage): Promise<void>;
  /** Puts things of others in the store's place, under the names of builds too, this one among them. */
  putForeign(buildId: string): Promise<void>;
}

/** Adds the tests. `subject` gives the store once the file's `before` hooks have run. */
export function storeConformance(subject: () => StoreUnderTest): void {
  const lines: string[] = [];
  let directory: string;
  test.before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'store-'));
  });
  test.after(() => rm(directory, { recursive: true, force: true }));

  /** The store as a worker of its own has it. */
  async function connect(environment: Environment = {}): Promise<Store> {
    const inputs = await storeInputs({ ...subject().environment, ...environment }, lines);
    return chooseStores(inputs).for('cloud');
  }
  const build = (options: Parameters<typeof finishedBuild>[1] = {}) => finishedBuild(directory, options);
  // Some are as large as an image: the archives of a release.
  const others = { log: 'the log\n', manifest: '', device: 'd'.repeat(3 * MiB), signature: 's' };
  const contentOf = (name: string) => Object.entries(others).find(([role]) => name.endsWith(`.${role}`))?.[1];
  const large = () => build({ bytes: subject().imageBytes, others });

  function assertNoSecret(text: string): void {
    for (const secret of subject().secrets) assert.not.match(text, secret);
  }

  test('all artifacts of a build are there, whole, with the progress of all their bytes, for every worker', async () => {
    const finished = await large();
    const { buildId, given } = finished;
    const [artifacts] = given;
    const store = await connect();
    assert.is(await store.find(buildId, quiet), null);
    const seen: (readonly [number, number])[] = [];
    const stored = await store.put(...given, { signal: never, onProgress: (...bytes) => seen.push(bytes) });

    const names = stored.map(({ name }) => name);
    assert.equal(names, [artifacts[0].name, ...names.slice(1).sort()]);
    assert.is(stored.length, artifacts.length);
    for (const { name, sizeBytes, checksums, role, mediaType } of artifacts) {
      const found = stored.find((each) => each.name === name);
      assert.ok(found, name);
      assert.equal([found.size, found.checksums], [sizeBytes, checksums], name);
      if ('role' in found) assert.equal([found.role, found.media_type], [role, mediaType]);
    }

    const totals = new Set(seen.map(([, total]) => total));
    const total = artifacts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    assert.equal([...totals], [total]);
    assert.is(seen.at(-1)?.[0], total);
    assert.ok(
      seen.every(([current], index) => current >= (seen[index - 1]?.[0] ?? 0)),
      'never backwards',
    );

    const another = await connect();
    assert.equal(await another.find(buildId, quiet), stored);
    const before = await subject().everything();
    const again = await build({ buildId, others });
    assert.equal(await another.put(...again.given, quiet), stored, 'the first stays');
    await another.discard(buildId);
    assert.equal(await subject().everything(), before);
    const contents = await Promise.all(stored.map((each) => subject().read(each)));
    assert.equal(
      contents.slice(1).map(String),
      stored.slice(1).map(({ name }) => contentOf(name)),
    );
    // Some stores take the file itself.
    const sent = await readFile(finished.image.path).catch(() => null);
    assert.ok(contents[0]?.length === finished.image.sizeBytes && (sent === null || contents[0].equals(sent)));
  });

  test('the image of a build is described as in events, whether or not others are beside it', async () => {
    const store = await connect();
    for (const finished of [await build(), await build({ others })]) {
      const [image] = await store.put(...finished.given, quiet);
      const { region, ...described } = image;
      assert.equal(Object.keys(described).sort(), ['checksums', 'format', 'id', 'location', 'name', 'size', 'store']);
      assert.equal([image.store, image.format, image.name], [store.kind, 'qcow2', finished.image.name]);
      assert.is(region === undefined, store.kind === 'file');
    }
  });

  test('two workers that put one build at the same time end with one', async () => {
    const before = (await subject().everything()).length;
    const one = await build();
    const two = await build({ buildId: one.buildId });
    const [first, second] = await Promise.all([connect(), connect()]);
    const stored = await Promise.all([first.put(...one.given, quiet), second.put(...two.given, quiet)]);
    // Either may have found its own first; what stays is the same for all.
    const kept = await first.find(one.buildId, quiet);
    assert.ok(stored.some(([image]) => image.id === kept?.[0].id));
    await first.remove(one.buildId, quiet);
    assert.is((await subject().everything()).length, before);
  });

  test('a cancel in the middle ends a put with its reason and leaves nothing', async () => {
    const before = await subject().everything();
    const { buildId, given } = await large();
    const cancelled = new AbortController();
    const reason = new Error('cancelled by a test');
    const store = await connect();
    const onProgress = afterBytes(subject().middleBytes, () => cancelled.abort(reason));
    await store.put(...given, { signal: cancelled.signal, onProgress }).then(
      () => assert.unreachable(),
      (error) => assert.is(error, reason),
    );
    assert.equal(await subject().everything(), before);
    assert.is(await store.find(buildId, quiet), null);
  });

  test('where the second of the artifacts fails, none is left', async () => {
    const before = await subject().everything();
    const { buildId, given } = await build({ others });
    const [artifacts] = given;
    await rm(artifacts[1]?.path ?? '');
    const store = await connect();
    const error: unknown = await store.put(...given, quiet).catch((thrown: unknown) => thrown);
    assert.instance(error, Error);
    assertNoSecret(allText(error));
    assert.equal(await subject().everything(), before);
    assert.is(await store.find(buildId, quiet), null);
  });

  test('a file that becomes shorter while it is put leaves nothing', async () => {
    const before = await subject().everything();
    const { image, given } = await large();
    const shorten = afterBytes(subject().middleBytes, () => void truncate(image.path, subject().middleBytes));
    const error: unknown = await (await connect())
      .put(...given, { signal: never, onProgress: shorten })
      .catch((thrown: unknown) => thrown);
    assert.match((error as Error).message, /has become shorter|changed its size/);
    assert.equal(await subject().everything(), before);
  });

  test('a worker that is killed in the middle leaves nothing that is found, and nothing after discard; the build can be put', async () => {
    const before = await subject().everything();
    const finished = await large();
    const { buildId } = finished;
    const program = join(import.meta.dirname, 'store-crash.ts');
    const env = { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, ...subject().environment };
    const dead = await execa(process.execPath, [program, JSON.stringify(finished)], {
      ...{ env, extendEnv: false, reject: false },
    });
    assert.is(dead.signal, 'SIGKILL', dead.stderr);
    assert.not.equal(await subject().everything(), before);
    const store = await connect();
    assert.is(await store.find(buildId, quiet), null);
    await store.discard(buildId);
    assert.equal(await subject().everything(), before);
    const stored = await store.put(...(await build({ buildId, others })).given, quiet);
    assert.equal(await store.find(buildId, quiet), stored);
    await store.remove(buildId, quiet);
    assert.equal(await subject().everything(), before);
  });

  test('a build that lacks a file is not found, and is put anew', async () => {
    const { buildId, given } = await build({ others });
    const store = await connect();
    const [, other] = await store.put(...given, quiet);
    assert.ok(other);
    await subject().lose(other);
    assert.is(await store.find(buildId, quiet), null);
    const stored = await store.put(...(await build({ buildId, others })).given, quiet);
    assert.is(stored.length, 1 + Object.keys(others).length);
    assert.equal(await store.find(buildId, quiet), stored);
  });

  logConformance(subject, connect);
  listConformance(subject, connect);

  test('finding, discarding and removing what is not there does nothing', async () => {
    const before = await subject().everything();
    const store = await connect();
    const buildId = randomUUID();
    assert.is(await store.find(buildId, quiet), null);
    await store.discard(buildId);
    await store.remove(buildId, quiet);
    assert.equal(await subject().everything(), before);
  });

  test('the checks pass, and leave nothing', async () => {
    const before = await subject().everything();
    const findings = await Array.fromAsync(checkStores(await storeInputs(subject().environment, lines)));
    assert.ok(findings.length > 1);
    assert.equal(
      findings.filter(({ ok }) => !ok),
      [],
    );
    assert.equal(await subject().everything(), before);
  });

  test('without the rights, the checks end with a fault and put fails; neither tells a secret', async () => {
    const { environment, withoutRights } = subject();
    const inputs = await storeInputs({ ...environment, ...withoutRights }, lines);
    const findings = await Array.fromAsync(checkStores(inputs));
    assert.is(findings.at(-1)?.ok, false, JSON.stringify(findings));
    assertNoSecret(JSON.stringify(findings));
    const error = await failure((await connect(withoutRights)).put(...(await build()).given, quiet));
    assert.ok(['store.refused', 'store.failed'].includes(error.code), error.code);
    assertNoSecret(allText(error));
  });

  test('no log line of all this has a secret', () => assertNoSecret(lines.join('\n')));
}
