import { z } from 'zod';
import { BuildErrorReport, BuildStep } from './event.ts';
import { field } from './field.ts';

/**
 * - `running`: it has not ended yet.
 * - `completed`, `failed`, `cancelled`: the build ended with it.
 * - `handed_back`: its worker was stopped, and gave the build back.
 * - `lost`: its worker or guest died.
 */
const AttemptOutcome = z.enum(['running', 'completed', 'failed', 'cancelled', 'handed_back', 'lost']);

/** One attempt at a build, as its events describe it. */
export const AttemptReport = z.object({
  attempt: field(z.int().positive(), 'Number of the attempt, from 1.', 1),
  worker: field(z.string().nullable(), 'Name of its worker.', 'worker-1'),
  started_at: field(z.iso.datetime(), 'The moment when the worker took the build.', '2026-01-01T12:00:01.000Z'),
  ended_at: field(
    z.iso.datetime().nullable(),
    'The moment of its end; null while it runs. Of a worker that died, the moment of its last event.',
    '2026-01-01T12:00:42.000Z',
  ),
  outcome: field(
    AttemptOutcome,
    '`completed`, `failed`, `cancelled`: the build ended with it. `handed_back`: the worker was stopped. `lost`: the worker or its guest died.',
    'lost',
  ),
  step: field(BuildStep.nullable(), 'The step that it is at, or ended at; null before the first.', 'install'),
  error_code: field(
    BuildErrorReport.shape.code.nullable(),
    'Code of the error that it ended with, where there was one.',
    'guest.failed',
  ),
});
export type AttemptReport = z.infer<typeof AttemptReport>;

export const exampleAttempts: AttemptReport[] = [
  {
    ...{ attempt: 1, worker: 'worker-1', started_at: '2026-01-01T12:00:01.000Z', ended_at: null },
    ...{ outcome: 'running', step: 'inspect', error_code: null },
  },
];

/** Of a build with more attempts, the newest are shown. */
export const maximumAttemptsShown = 10;
