import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BuildStatus, exampleBuild, type Status } from '#lib/api/status.ts';
import { createBuilds } from '../../../functions/status/page/builds.js';

/** The builds that the live page knows. */

const any = { state: '', ticket: '', series: '' };
const build = (build_id: string, changes: Partial<BuildStatus> = {}): BuildStatus => ({
  ...exampleBuild,
  build_id,
  ...changes,
});
const status = (lists: Partial<Pick<Status, 'running' | 'queued' | 'finished'>>): Status => ({
  ...{ status: 'ok', version: '0', workers: [], workers_gone: 0 },
  broker: { reachable: true, queue_depth: 0, dropped: 0, buried: 0 },
  counts: { queued: 0, running: 0, completed: 0, failed: 0, cancelled: 0 },
  ...{ running: [], queued: [], finished: [], ...lists },
});
const idsOf = (known: readonly { build: BuildStatus }[]) => known.map((one) => one.build.build_id);

test('a page of older builds changes nothing that the stream has shown since', () => {
  const builds = createBuilds();
  builds.takeStatus(
    status({ finished: [build('a', { state: 'completed', updated_at: '2026-01-01T12:00:05.000Z' })] }),
    0,
  );
  builds.takePage([build('a', { updated_at: '2026-01-01T12:00:04.000Z' }), build('b')], 1);
  const { running, finished } = builds.sections(any);
  assert.equal([idsOf(running), idsOf(finished)], [['b'], ['a']]);
});

test('a build that goes on and is in no overview has to be looked at', () => {
  const builds = createBuilds();
  builds.takePage([build('a'), build('b', { state: 'queued' }), build('c', { state: 'failed' })], 0);
  assert.equal(builds.unsure(1), ['a', 'b']);
  builds.takeStatus(status({ running: [build('a')] }), 1);
  assert.equal(builds.unsure(9), ['b']);
  builds.takePage([build('b', { state: 'queued' }), build('d', { state: 'queued' })], 2);
  assert.equal(builds.unsure(2), [], 'not so soon again');
  builds.takePage([build('b', { state: 'queued' })], 3);
  assert.equal(builds.unsure(9), ['d', 'b'], 'the one that was last seen the longest ago first');
  builds.drop('b');
  assert.equal(builds.unsure(9), ['d']);
});

test('builds are in order: the newest runs first, the next one waits first, the last ended first', () => {
  const builds = createBuilds();
  const at = (second: number) => `2026-01-01T12:00:0${second}.000Z`;
  builds.takeStatus(
    status({
      running: [build('r1', { queued_at: at(1) }), build('r2', { queued_at: at(2) })],
      queued: [
        build('q2', { state: 'queued', place_in_queue: 2 }),
        build('q1', { state: 'queued', place_in_queue: 1 }),
      ],
      finished: [
        build('f1', { state: 'failed', finished_at: at(3) }),
        build('f2', { state: 'completed', finished_at: at(4) }),
      ],
    }),
    0,
  );
  const { running, queued, finished } = builds.sections(any);
  assert.equal(
    [idsOf(running), idsOf(queued), idsOf(finished)],
    [
      ['r2', 'r1'],
      ['q1', 'q2'],
      ['f2', 'f1'],
    ],
  );
});

test('filters narrow by state, by a part of the ticket in any case, and by the beginning of the series', () => {
  const builds = createBuilds();
  builds.takePage(
    [
      build('a', { ticket_id: 'Web-1', series: 'noble' }),
      build('b', { ticket_id: 22, series: 'jammy', state: 'failed' }),
    ],
    0,
  );
  const shown = (filter: Partial<typeof any>) => {
    const { running, queued, finished } = builds.sections({ ...any, ...filter });
    return idsOf([...running, ...queued, ...finished]);
  };
  assert.equal(shown({ ticket: 'web' }), ['a']);
  assert.equal(shown({ ticket: '2' }), ['b']);
  assert.equal(shown({ state: 'failed' }), ['b']);
  assert.equal(shown({ series: 'nob' }), ['a']);
  assert.equal(shown({ series: 'nob', state: 'failed' }), []);
  assert.equal(builds.series(), ['jammy', 'noble']);
});

test.run();
