import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BuildEvent } from '#lib/api/event.ts';
import { startReporter } from '#lib/build/reporter.ts';
import { ImageBuilderError } from '#lib/errors.ts';

const identity = {
  build_id: '0f3c2d1e-7a58-4c7b-9a3b-6a5f0f1e2d3c',
  ticket_id: 'T-77',
  progress_trigger: 'testbuild-1-imagebuilder',
  attempt: 1,
  worker: 'worker-a',
};

function collect(publish?: () => Promise<void>) {
  const events: BuildEvent[] = [];
  const options = {
    identity,
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
  assert.is(reporter.logTail(1)[0]?.length, 1001);
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

test('a flood of log lines is told by its newest ones and how many were left out, in few events', async () => {
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

test('twenty lines are told whole', async () => {
  const { events, options } = collect();
  await using reporter = startReporter(options);
  for (let line = 1; line <= 20; line++) reporter.log(`line ${line}`);
  await reporter.end({ state: 'failed', error: new ImageBuilderError('guest.limit', 'too much') });
  assert.is(events.flatMap((event) => event.log ?? [])[0], 'line 1');
});

test('an event stays small however long messages and lines are', async () => {
  const { events, options } = collect();
  await using reporter = startReporter(options);
  reporter.begin('install', `installing ${'package '.repeat(100_000)}`);
  reporter.log('x'.repeat(1_000_000));
  const logTail = Array.from({ length: 1000 }, () => 'y'.repeat(100_000));
  await reporter.end({
    state: 'failed',
    error: new ImageBuilderError('apt.install', 'z'.repeat(1_000_000), { logTail }),
  });
  for (const event of events) assert.ok(JSON.stringify(event).length < 100_000);
});

test('what a step is at is remembered, whatever notices come in between', async () => {
  const { options } = collect();
  await using reporter = startReporter(options);
  reporter.begin('install', 'installing libfoo');
  reporter.progress(1, 2, 'Configuring libfoo (all)');
  reporter.notice('something else');
  reporter.progress(2, 2);
  assert.is(reporter.doing, 'Configuring libfoo (all)');
});

test.run();
