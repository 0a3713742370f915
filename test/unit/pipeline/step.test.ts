import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import type { EndedStep } from '#lib/pipeline/context.ts';
import { runStep } from '#lib/pipeline/step.ts';

/** Runs one step; resolves with its outcome, the reports that it made and the lines that it has logged, without times. */
async function stepOf(work: () => Promise<string>, signal = new AbortController().signal): Promise<unknown[]> {
  const reports: unknown[] = [];
  const lines: Record<string, unknown>[] = [];
  const none = () => assert.unreachable('a step reports nothing but its beginning');
  const reporter = {
    ...{ begin: (...report: string[]) => reports.push(report), progress: none, notice: none, log: none, guest: none },
  };
  const log = createLog({ level: 'info', write: (line) => lines.push(JSON.parse(line)) });
  const counted: unknown[] = [];
  const errors: unknown[] = [];
  const onStepEnd = ({ step, startedAt, endedAt, seconds, error }: EndedStep) => {
    assert.is(Math.round(seconds * 1000), endedAt.getTime() - startedAt.getTime());
    errors.push(error?.message);
    counted.push([step, error !== null, typeof seconds]);
  };
  const outcome = await runStep({ reporter, log, onStepEnd, signal }, 'seal', 'cleaning up', work).catch(
    (error: unknown) => error,
  );
  const ends = lines.map(({ message, step, failed, duration_seconds: seconds }) => [
    message,
    step,
    failed,
    typeof seconds,
  ]);
  assert.equal(
    counted,
    ends.map(([, ...counts]) => counts),
  );
  return [outcome, reports, ends, errors];
}

test('a step reports its beginning, resolves as its work does, and the log says that it has not failed', async () => {
  assert.equal(await stepOf(async () => 'value'), [
    'value',
    [['seal', 'cleaning up']],
    [['step ended', 'seal', false, 'number']],
    [undefined],
  ]);
});

test('a step throws what its work has thrown, and the log says that it has failed', async () => {
  const error = new Error('it does not work');
  assert.equal(await stepOf(() => Promise.reject(error)), [
    error,
    [['seal', 'cleaning up']],
    [['step ended', 'seal', true, 'number']],
    ['it does not work'],
  ]);
});

test('the reason why a build is ended is the error of the step that it ends', async () => {
  const reason = new ImageBuilderError('build.cancelled', 'cancelled by request');
  const [, , , errors] = await stepOf(() => Promise.reject(new Error('a consequence')), AbortSignal.abort(reason));
  assert.equal(errors, ['cancelled by request']);
});

test.run();
