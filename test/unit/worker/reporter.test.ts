import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleArtifacts } from '#lib/api/artifact-report.ts';
import { BuildEvent } from '#lib/api/event.ts';
import type { BaseImageReport, ImageResult } from '#lib/api/image-result.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import { maximumEventBytes, maximumFinishedEventBytes } from '#lib/worker/event-limits.ts';
import { type Outcome, startReporter } from '#lib/worker/reporter.ts';

const identity = {
  build_id: '0f3c2d1e-7a58-4c7b-9a3b-6a5f0f1e2d3c',
  ticket_id: 'T-77',
  progress_trigger: 'testbuild-1-imagebuilder',
  attempt: 1,
  worker: 'worker-a',
};

const image: ImageResult = {
  id: identity.build_id,
  location: `file:///var/lib/imagebuilder/images/${identity.build_id}`,
  store: 'file',
  name: 'noble-T-77-0f3c2d1e.qcow2',
  size: 1,
  checksums: { sha256: '0'.repeat(64), sha512: '0'.repeat(128) },
  format: 'qcow2',
};

const jsonBytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value));

function collect(publish?: () => Promise<void>) {
  const events: BuildEvent[] = [];
  const options = {
    identity,
    steps: imageKinds.cloud.steps,
    firstSequence: 5,
    heartbeatMs: 60_000,
    progressIntervalMs: 20,
    publish: async (event: BuildEvent) => {
      events.push(BuildEvent.parse(event));
      await publish?.();
      return true;
    },
  };
  return { events, options };
}

test('events are valid, rise in sequence from the first number, and progress never falls', async () => {
  const { events, options } = collect();
  await using reporter = startReporter(options);
  reporter.begin('fetch', 'downloading');
  await sleep(5);
  reporter.progress(50, 100);
  await sleep(40);
  reporter.begin('install', 'installing');
  await sleep(5);
  reporter.progress(1, 1000);
  await sleep(40);
  await reporter.end({ state: 'failed', error: new ImageBuilderError('apt.install', 'libfoo failed to install') });
  assert.is(events[0]?.sequence, 5);
  for (const [index, event] of events.entries()) {
    const before = events[index - 1];
    if (before === undefined) continue;
    assert.ok(event.sequence > before.sequence);
    assert.ok(event.progress >= before.progress);
  }
  assert.is(events.at(-1)?.state, 'failed');
  assert.is(events.at(-1)?.error?.step, 'install');
  assert.is(events.at(-1)?.error?.fault, 'request');
});

test('a burst of progress becomes one event with the newest state', async () => {
  const { events, options } = collect();
  await using reporter = startReporter(options);
  reporter.begin('fetch', 'downloading');
  for (let bytes = 1; bytes <= 1000; bytes++) reporter.progress(bytes, 1000);
  await sleep(80);
  assert.ok(events.length <= 3, `${events.length} events`);
  assert.is(events.at(-1)?.current, 1000);
});

test('while an event cannot be sent nothing piles up, and the terminal event comes last', async () => {
  let release = () => {};
  const blocked = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { events, options } = collect(() => blocked);
  await using reporter = startReporter(options);
  reporter.begin('fetch', 'downloading');
  reporter.begin('inspect', 'inspecting');
  reporter.begin('open', 'opening');
  reporter.begin('sources', 'adding');
  await sleep(60);
  assert.is(events.length, 1);
  const ended = reporter.end({ state: 'cancelled', error: new ImageBuilderError('build.cancelled', 'cancelled') });
  release();
  await ended;
  assert.is(events.at(-1)?.state, 'cancelled');
  assert.is(events.filter((event) => event.state !== 'running').length, 1);
});

test('a heartbeat is sent while nothing happens, and none after the end', async () => {
  const { events, options } = collect();
  await using reporter = startReporter({ ...options, heartbeatMs: 50 });
  reporter.begin('install', 'one long package');
  await sleep(220);
  const sent = events.length;
  assert.ok(sent >= 3, `${sent} events`);
  await reporter.handBack('the worker stops');
  const last = events.length;
  assert.is(events.at(-1)?.state, 'queued');
  await sleep(120);
  assert.is(events.length, last);
});

test('log lines travel once each with the events and stand in the tail', async () => {
  const { events, options } = collect();
  await using reporter = startReporter(options);
  reporter.log('Get:1 something');
  reporter.log('x'.repeat(5000));
  await sleep(60);
  assert.equal(events.flatMap((event) => event.log ?? [])[0], 'Get:1 something');
  assert.is(events.flatMap((event) => event.log ?? []).length, 2);
  assert.is(Buffer.byteLength(reporter.logTail(1)[0] ?? ''), 1000);
});

test('how the worker opens images goes along with one event, and into the log', async () => {
  const { events, options } = collect();
  await using reporter = startReporter(options);
  const guest = { kind: 'vm', accelerator: 'tcg', reason: '/dev/kvm cannot be opened' } as const;
  reporter.guest(guest);
  reporter.begin('sources', 'adding the PPAs');
  reporter.begin('install', 'installing');
  await reporter.end({ state: 'failed', error: new ImageBuilderError('apt.install', 'libfoo failed to install') });
  assert.equal(
    events.flatMap((event) => event.guest ?? []),
    [guest],
  );
  assert.equal(reporter.logTail(1), ['images are opened by the vm guest: /dev/kvm cannot be opened']);
});

test('a flood of log lines becomes few events, with its newest lines and the number of those left out', async () => {
  const { events, options } = collect();
  await using reporter = startReporter(options);
  for (let line = 1; line <= 100_000; line++) reporter.log(`line ${line}`);
  await reporter.end({ state: 'failed', error: new ImageBuilderError('guest.limit', 'too much') });
  assert.ok(events.length <= 3, `${events.length} events`);
  const log = events.flatMap((event) => event.log ?? []);
  assert.is(log.at(-1), 'line 100000');
  assert.is(log[0], `(${100_000 - 19} lines left out)`);
  assert.is(log.length, 20);
});

test('twenty lines are sent in full', async () => {
  const { events, options } = collect();
  await using reporter = startReporter(options);
  for (let line = 1; line <= 20; line++) reporter.log(`line ${line}`);
  await reporter.end({ state: 'failed', error: new ImageBuilderError('guest.limit', 'too much') });
  assert.is(events.flatMap((event) => event.log ?? [])[0], 'line 1');
});

const longTexts: Readonly<Record<string, string>> = {
  letters: 'x',
  'control characters, six bytes each in JSON': '\u0001',
  quotes: '"',
  'half characters, six bytes each in JSON': '\ud800',
  'wide characters': '\u{1f980}',
  'terminal sequences': '\u001b[31m',
};

for (const [what, unit] of Object.entries(longTexts)) {
  test(`no event is larger than its limit, whatever is written: ${what}`, async () => {
    const long = unit.repeat(100_000);
    const { events, options } = collect();
    const wide = { ...options, identity: { ...identity, ticket_id: '\u0001'.repeat(256) } };
    const end = async (outcome: Outcome) => {
      await using reporter = startReporter(wide);
      reporter.guest({ kind: 'vm', accelerator: 'tcg', reason: long });
      reporter.begin('install', long);
      for (let line = 0; line < 30; line += 1) reporter.log(`${line} ${long}`);
      await sleep(40);
      reporter.notice(long);
      await reporter.end(outcome);
    };
    const logTail = Array.from({ length: 100 }, () => long);
    await end({ state: 'failed', error: new ImageBuilderError('apt.install', long, { logTail }) });
    assert.ok((events.at(-1)?.error?.log_tail ?? []).length > 0, 'the end has its log');
    for (const event of events) assert.ok(jsonBytes(event) <= maximumEventBytes, `${jsonBytes(event)} bytes`);
    const packages = Array.from({ length: 5_000 }, (_, index) => ({
      name: `${index}${unit.repeat(2_000)}`,
      version: long.slice(0, 2_000),
    }));
    const base: BaseImageReport = {
      url: `http://x/${long}`,
      sha256: '0'.repeat(64),
      size: 1,
      from_cache: false,
      verified_by: 'unverified',
      checksum_algorithms: [],
      signed_by: null,
      checksums_url: `http://x/${long}`,
    };
    const removed = packages.map((entry) => ({ ...entry, architecture: unit }));
    const finished = { ...image, packages, removed, warnings: Array(100).fill(long), base_image: base };
    // As many as a release with three parts has, with the longest names.
    const artifacts = Array.from({ length: 22 }, () => exampleArtifacts).flatMap(([one]) =>
      one === undefined ? [] : [{ ...one, name: 'x'.repeat(160), location: 'x'.repeat(300), id: 'x'.repeat(200) }],
    );
    await end({ state: 'completed', image: finished, artifacts });
    assert.is(events.at(-1)?.artifacts?.length, 22);
    assert.ok(jsonBytes(events.at(-1)) <= maximumFinishedEventBytes, `${jsonBytes(events.at(-1))} bytes`);
    const last = events.at(-1)?.image;
    for (const [kept, omitted] of [
      [last?.packages, last?.packages_omitted],
      [last?.removed, last?.removed_omitted],
    ] as const) {
      assert.ok((kept?.length ?? 0) > 0);
      assert.is((kept?.length ?? 0) + (omitted ?? 0), 5_000);
    }
  });
}

test('control characters and terminal sequences are dropped, and what they kept apart stays apart', async () => {
  const { options } = collect();
  await using reporter = startReporter(options);
  reporter.log('\u001b[1;31mE:\u001b[0m Unable\tto locate\u0007\u0000 \ud800 "libfoo" – ä \u{1f980}\r');
  assert.equal(reporter.logTail(1), ['E: Unable to locate \ufffd "libfoo" – ä \u{1f980}']);
});

test('a build that writes as fast as it can fills no more of the stream than its share', async () => {
  const { events, options } = collect();
  const share = { burstBytes: 50_000, bytesPerSecond: 2_000 };
  const started = performance.now();
  await using reporter = startReporter({ ...options, progressIntervalMs: 1, share });
  const bytes = () => events.reduce((sum, event) => sum + jsonBytes(event), 0);
  const allowed = () =>
    share.burstBytes + share.bytesPerSecond * ((performance.now() - started) / 1000) + maximumEventBytes;
  const lean = ({ log = [] }: BuildEvent) => log.length === 1 && /^\(\d+ lines left out\)$/.test(log[0] ?? '');
  const limit = AbortSignal.timeout(60_000);
  let lines = 0;
  for (; events.filter(lean).length < 3; await sleep(1)) {
    limit.throwIfAborted();
    for (let line = 0; line < 100; line += 1) reporter.log(`${++lines} ${'"'.repeat(2_000)}`);
    reporter.progress(lines, null, `line ${lines} ${'x'.repeat(2_000)}`);
    assert.ok(bytes() <= allowed(), `${bytes()} bytes of ${Math.round(allowed())}`);
  }
  assert.match(events.findLast(lean)?.message ?? '', /^line \d+ x/, 'progress goes on');
  // Every line is either there or counted, and the end has the newest ones.
  reporter.log(`${++lines} is the last`);
  await reporter.end({ state: 'failed', error: new ImageBuilderError('guest.limit', 'too much') });
  const told = events.flatMap(({ log }) => log ?? []);
  const counts = told.map((line) => Number(/^\((\d+) lines left out\)$/.exec(line)?.[1] ?? 1));
  assert.is(
    counts.reduce((sum, count) => sum + count, 0),
    lines,
  );
  assert.match(events.at(-1)?.log?.at(-1) ?? '', new RegExp(`^${lines} `));
  assert.match(events.at(-1)?.error?.log_tail?.at(-1) ?? '', new RegExp(`^${lines} `));
});

test('the message of a step is remembered, whatever notices come in between', async () => {
  const { options } = collect();
  await using reporter = startReporter(options);
  reporter.begin('install', 'installing libfoo');
  reporter.progress(1, 2, 'Configuring libfoo (all)');
  reporter.notice('something else');
  reporter.progress(2, 2);
  assert.is(reporter.doing, 'Configuring libfoo (all)');
});

test('events tell when each step began and ended, also one too short for an event, and only when that has changed', async () => {
  const { events, options } = collect(() => sleep(30));
  await using reporter = startReporter(options);
  reporter.begin('fetch', 'downloading');
  reporter.begin('inspect', 'looking');
  reporter.begin('open', 'opening');
  reporter.begin('open', 'opening once more');
  await sleep(80);
  reporter.progress(1, 2);
  await sleep(60);
  await reporter.end({ state: 'failed', error: new ImageBuilderError('guest.failed', 'gone') });
  const told = events.map(({ steps }) => steps?.map(({ step, ended_at }) => [step, ended_at !== null]));
  const past = ['fetch', 'inspect'].map((step) => [step, true]);
  assert.equal(told, [[['fetch', false]], [...past, ['open', false]], undefined, [...past, ['open', true]]]);
  const times = (events.at(-1)?.steps ?? []).flatMap(({ started_at, ended_at }) => [started_at, ended_at ?? '']);
  assert.equal(times, times.toSorted());
  assert.is(times.at(-1), events.at(-1)?.time);
});

test.run();
