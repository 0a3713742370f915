import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { usualSteps } from '#lib/api/event.ts';
import { hashFile } from '#lib/image/digest.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import { finishedLog, quiet } from '../conformance/finished-build.ts';
import { startService } from './service.ts';

/** The metrics of a running service, read by Prometheus' own tool. */

const repository = join(import.meta.dirname, '../..');
const service = await startService({ ppas: () => [], settings: { IMAGEBUILDER_STORE_AGE: '3600' } });
test.after(async () => {
  await service[Symbol.asyncDispose]();
});

async function scrape(): Promise<string> {
  const response = await fetch(`${service.url}/metrics`);
  assert.is(response.status, 200);
  assert.is(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  return await response.text();
}

/** A build in the store that is older than the service keeps builds. */
async function keepOldLog(): Promise<void> {
  const { log, origin } = await finishedLog(service.directory, randomUUID(), 'an old log\n');
  const store = createFileStore(join(service.directory, 'store'));
  const kept = await store.keepLog(log, origin, quiet);
  const time = new Date(Date.now() - 2 * 3_600_000);
  await utimes(join(fileURLToPath(kept?.location ?? ''), '..', 'log.json'), time, time);
}

/** The metrics of Image Builder in an answer, by name, with their types. */
const typesIn = (text: string) =>
  new Map(
    [...text.matchAll(/^# TYPE (imagebuilder_[a-z_]+) ([a-z]+)$/gm)].map(([, name = '', type = '']) => [name, type]),
  );

test('serve answers for all functions after a build, as promtool accepts it', async () => {
  await keepOldLog();
  const ended = await service.build(service.request({ ppa_list: [], package_list: [] }));
  assert.is(ended.state, 'completed');
  const text = await scrape();
  await execa('promtool', ['check', 'metrics'], { input: text });
  const up = text.match(/^imagebuilder_function_up\{function="[a-z-]+"\} 1$/gm) ?? [];
  assert.is(up.length, 4);
  assert.match(text, /^imagebuilder_broker_reachable\{function="status"\} 1$/m);
});

test('a worker counts its builds, steps, caches and bytes', async () => {
  const text = await scrape();
  const value = (sample: string) => {
    const line = text.split('\n').find((one) => one.startsWith(`${sample} `));
    assert.ok(line, `${sample} is missing in\n${text}`);
    return Number(line.split(' ').at(-1));
  };
  const worker = 'function="build-worker"';
  const ended = `image_type="cloud",state="completed",fault="none",code="none",${worker}`;
  assert.is(value(`imagebuilder_builds_ended_total{${ended}}`), 1);
  assert.is(value(`imagebuilder_builds{state="completed",function="status"}`), 1);
  for (const step of usualSteps) {
    assert.is(value(`imagebuilder_step_duration_seconds_count{${worker},step="${step}",result="done"}`), 1);
  }
  assert.is(value(`imagebuilder_cache_requests_total{cache="images",result="miss",${worker}}`), 1);
  assert.ok(value(`imagebuilder_fetched_bytes_total{cache="images",${worker}}`) > 1_000_000);
  assert.ok(value(`imagebuilder_stored_bytes_total{store="file",${worker}}`) > 1_000_000);
  assert.is(value(`imagebuilder_attempts_lost_total{cause="worker",${worker}}`), 0);
  assert.is(value(`imagebuilder_guest_info{guest="host",accelerator="none",${worker}}`), 1);
  for (const folder of ['work', 'cache', 'store', 'temporary']) {
    assert.ok(value(`imagebuilder_disk_free_bytes{folder="${folder}",${worker}}`) > 0);
  }
});

test('docs/monitoring.md lists the metrics that there are, with their types', async () => {
  const docs = await readFile(join(repository, 'docs/monitoring.md'), 'utf8');
  const rows = [...docs.matchAll(/^\| `(imagebuilder_[a-z_]+)` \| ([a-z]+) \|/gm)];
  assert.equal(
    new Map(rows.map(([, name = '', type = '']) => [name, type] as const).sort()),
    new Map([...typesIn(await scrape())].sort()),
  );
});

test('the alert rules are rules, and they and the dashboard name metrics that there are', async () => {
  const alerts = join(repository, 'monitoring/alerts.yml');
  await execa('promtool', ['check', 'rules', alerts]);
  const text = await scrape();
  const there = new Set(
    [...text.matchAll(/^([a-z_0-9]+)\{/gm), ...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name),
  );
  for (const file of [alerts, join(repository, 'monitoring/dashboard.json')]) {
    const named = (await readFile(file, 'utf8')).match(/\b(?:imagebuilder|nodejs|process)_[a-z0-9_]+/g) ?? [];
    assert.ok(named.length >= 7, file);
    for (const name of named) assert.ok(there.has(name), `${name} of ${file} is there`);
  }
});

test('the command lists, shows, downloads and deletes what the build has stored', async () => {
  const env = { PATH: process.env.PATH, IMAGEBUILDER_URL: service.url };
  const images = async (...words: string[]) =>
    await execa(process.execPath, [join(repository, 'bin/imagebuilder.ts'), 'images', ...words], {
      ...{ env, extendEnv: false, reject: false },
    });
  const json = async (...words: string[]) => JSON.parse((await images(...words, '--json')).stdout);
  const [stored, ...others] = (await json()).images;
  assert.equal(others, [], 'the worker has removed the build that was too old');
  const { build_id: buildId, image, artifacts } = stored;
  assert.match((await images()).stdout, `${buildId}  ${stored.ticket_id}`);
  assert.equal(await json('show', buildId), stored);
  assert.match((await images('show', buildId)).stdout, `sha256 ${image.checksums.sha256}`);
  assert.is(stored.caller, 'anonymous');
  assert.ok(artifacts.some(({ role }: { readonly role: string }) => role === 'log'));

  const folder = await mkdtemp(join(tmpdir(), 'imagebuilder-downloads-'));
  try {
    const { stdout } = await images('download', buildId, '--to', folder);
    const paths = [image, ...artifacts].map(({ name }) => join(folder, name));
    assert.equal(stdout.split('\n'), paths);
    assert.is((await hashFile(paths[0] ?? '')).checksums.sha256, image.checksums.sha256);
  } finally {
    await rm(folder, { recursive: true });
  }
  assert.is((await images('delete', buildId)).exitCode, 0);
  assert.match((await images('delete', buildId)).stderr, 'the store has nothing of a build');
  assert.is((await images()).stdout, 'No images.');
});

test.run();
