import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { hideAnswers } from '#lib/pipeline/hide-answers.ts';
import type { BuildReporter } from '#lib/pipeline/reporter.ts';

const answer = (type: 'password' | 'string', value: string) => ({ owner: 'a', question: 'b/c', type, value });

test('passwords are taken out of everything that a build reports and of its error, other answers are not', () => {
  const reports: unknown[] = [];
  const reporter: BuildReporter = {
    begin: (...report) => reports.push(report),
    progress: (...report) => reports.push(report),
    notice: (...report) => reports.push(report),
    log: (...report) => reports.push(report),
    guest: () => {},
  };
  const selections = [
    answer('password', 'moon'),
    answer('password', 'moonshine'),
    answer('string', 'sun'),
    answer('password', 'x'),
  ];
  const hidden = hideAnswers(selections, reporter);
  hidden.reporter.begin('install', 'moon');
  hidden.reporter.progress(1, 2);
  hidden.reporter.progress(1, 2, 'a moonshine');
  hidden.reporter.notice('x moon sun');
  hidden.reporter.log('moonmoonshine');
  assert.equal(reports, [
    ['install', '[password]'],
    [1, 2],
    [1, 2, 'a [password]'],
    ['x [password] sun'],
    ['[password][password]'],
  ]);
  const faults = [{ path: '$', message: 'moon' }];
  const error = hidden.error(
    new ImageBuilderError('apt.install', 'a moon', { logTail: ['moonshine'], faults }),
  ) as ImageBuilderError;
  assert.equal(
    [error.code, error.message, error.logTail, error.faults],
    ['apt.install', 'a [password]', ['[password]'], [{ path: '$', message: '[password]' }]],
  );
  assert.not.match(JSON.stringify([error.stack, error.cause]), 'moon');
  const other = new ImageBuilderError('apt.install', 'a sun');
  assert.is(hidden.error(other), other);
  assert.is(hideAnswers([answer('string', 'sun')], reporter).reporter, reporter);
});

test.run();
