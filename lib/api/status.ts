import { z } from 'zod';
import { AttemptReport, exampleAttempts } from './attempt.ts';
import { Series } from './base-image.ts';
import { BuildEvent, type BuildState, exampleSteps, GuestReport, StepTimes } from './event.ts';
import { field } from './field.ts';
import { exampleKept, KeptRequest } from './kept-request.ts';

/** The answers of `GET /api/v1/imagebuilder/status`. */

const { build_id, ticket_id, progress_trigger, ...ofEvent } = BuildEvent.shape;
const moment = (description: string, example: string) => field(z.iso.datetime(), description, example);
const momentOrNull = (description: string, example: string) => field(z.iso.datetime().nullable(), description, example);

const retryOf = field(
  z.uuid(),
  'The build whose request it repeats, where it is a retry.',
  '5b0b0f7a-1c0e-4f5f-8a57-3f2f7f0f6a11',
).optional();

/** One build, as of its newest events. */
export const BuildStatus = z.object({
  build_id,
  ticket_id,
  progress_trigger: field(z.string(), 'The exchange that the request named for the events.', 'lander.progress'),
  caller: field(z.string(), 'Name of the caller that submitted the build.', 'lander'),
  series: field(
    Series,
    'Series of the base image; missing where an older version took the build.',
    'trusty',
  ).optional(),
  state: ofEvent.state,
  place_in_queue: field(z.int().positive(), 'Only while it waits for a worker: 1 is the next one.', 1).optional(),
  step: ofEvent.step,
  message: ofEvent.message,
  current: ofEvent.current,
  total: ofEvent.total,
  progress: ofEvent.progress,
  attempt: ofEvent.attempt,
  worker: ofEvent.worker,
  queued_at: moment('The moment of the submission.', '2026-01-01T12:00:00.000Z'),
  started_at: momentOrNull('The moment when a worker first started it; null before.', '2026-01-01T12:00:01.000Z'),
  updated_at: moment('The moment of its newest event.', '2026-01-01T12:00:42.000Z'),
  finished_at: momentOrNull('The moment of its end; null before.', '2026-01-01T12:04:10.000Z'),
  elapsed_seconds: field(z.number(), 'Seconds from `queued_at` to `finished_at`, or to now.', 42.5),
  cancelling: field(z.boolean(), 'True once a cancel was asked for and the build has not ended yet.', false),
  log_tail: field(
    z.array(z.string()),
    'The newest lines of the build’s log, oldest first; only where one build was asked for.',
    ['Setting up hello (2.10-3) ...'],
  ).optional(),
  request: field(
    KeptRequest,
    'The request, without what may be a secret. This and the next three only where one build was asked for.',
    exampleKept,
  ).optional(),
  retry_of: retryOf,
  steps: field(z.array(StepTimes), 'The steps of its newest attempt.', exampleSteps).optional(),
  attempts: field(
    z.array(AttemptReport),
    'Its attempts, oldest first; of more than ten the newest.',
    exampleAttempts,
  ).optional(),
  image: ofEvent.image,
  artifacts: ofEvent.artifacts,
  error: ofEvent.error,
});
export type BuildStatus = z.infer<typeof BuildStatus>;

export const exampleBuild: BuildStatus = {
  build_id: '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55',
  ticket_id: 'T-77',
  progress_trigger: 'lander.progress',
  caller: 'lander',
  series: 'trusty',
  state: 'running',
  step: 'install',
  message: 'Unpacking hello (2.10-3)',
  current: 3,
  total: 7,
  progress: 0.62,
  attempt: 1,
  worker: 'worker-1',
  queued_at: '2026-01-01T12:00:00.000Z',
  started_at: '2026-01-01T12:00:01.000Z',
  updated_at: '2026-01-01T12:00:42.000Z',
  finished_at: null,
  elapsed_seconds: 42.5,
  cancelling: false,
};

const count = (state: BuildState) => field(z.int().nonnegative(), `Builds that are ${state}.`, 1);
const BuildCounts = z.object({
  queued: count('queued'),
  running: count('running'),
  completed: count('completed'),
  failed: count('failed'),
  cancelled: count('cancelled'),
} satisfies Record<BuildState, z.ZodType>);
export type BuildCounts = z.infer<typeof BuildCounts>;

const BrokerReport = z.object({
  reachable: field(z.boolean(), 'True while RabbitMQ can be reached.', true),
  queue_depth: field(z.int().nullable(), 'Builds that wait for a worker; null while RabbitMQ is out of reach.', 3),
  dropped: field(
    z.int().nullable(),
    'Jobs that RabbitMQ has dropped, for a policy of the operator, and that were not put back yet.',
    0,
  ),
  buried: field(z.int().nullable(), 'Jobs that were given up and lie in `imagebuilder.buried`.', 0),
  message: field(
    z.string(),
    'The reason why RabbitMQ is out of reach, for people.',
    'connect ECONNREFUSED 127.0.0.1:5672',
  ).optional(),
});

const WorkerReport = z.object({
  name: field(z.string(), 'Name of the worker.', 'worker-1'),
  last_seen: moment('The moment of its newest event.', '2026-01-01T12:00:42.000Z'),
  builds: field(z.array(z.uuid()), 'The builds that it works on, as far as the caller may see them.', [
    '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55',
  ]),
  guest: field(GuestReport, 'How it opens images; missing before it has opened one.', {
    kind: 'vm',
    accelerator: 'kvm',
    reason: 'a guest starts with KVM',
  }).optional(),
  unable: field(
    z.string(),
    'The reason why it takes no build; missing where it can.',
    'work folder: /var/lib/imagebuilder/work cannot be written: Read-only file system',
  ).optional(),
});

export const Status = z.object({
  status: field(
    z.enum(['ok', 'degraded']),
    '`degraded` while RabbitMQ is out of reach (the builds shown are then the last ones known), or while no living worker can build.',
    'ok',
  ),
  version: field(z.string(), 'Version of Image Builder.', '0.2.0'),
  broker: field(BrokerReport, 'RabbitMQ, and the jobs in it.', {
    reachable: true,
    queue_depth: 3,
    dropped: 0,
    buried: 0,
  }),
  workers: field(
    z.array(WorkerReport),
    'Workers that live: they have shown themselves within eleven minutes and have not ended; newest first.',
    [{ name: 'worker-1', last_seen: '2026-01-01T12:00:42.000Z', builds: [] }],
  ),
  workers_gone: field(z.int().nonnegative(), 'How many other workers the events stream names.', 0),
  counts: field(
    BuildCounts,
    'Numbers of the builds that the lists are of: `queued` and `finished` hold only the newest.',
    { queued: 0, running: 1, completed: 41, failed: 3, cancelled: 0 },
  ),
  running: field(z.array(BuildStatus), 'Builds that a worker has started.', [exampleBuild]),
  queued: field(z.array(BuildStatus), 'The newest of the builds that wait for a worker, oldest first.', []),
  finished: field(z.array(BuildStatus), 'The builds that ended last, newest first.', []),
});
export type Status = z.infer<typeof Status>;

/** Answer to a submission: 202 for a new build, 200 when an unfinished build has the same request already. */
export const Accepted = z.object({
  building: field(z.literal(true), 'Always true: the build will be done, or is being done.', true),
  build_id,
  ticket_id,
  retry_of: retryOf,
  status_url: field(
    z.string(),
    'Where the status of the build stands.',
    '/api/v1/imagebuilder/status?build_id=0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55',
  ),
  warnings: field(
    z.array(z.string()),
    'The reason why no worker takes the build now, where that is so; it waits until one can.',
    ['no worker is known to be running; the build waits until one starts'],
  ).optional(),
});
export type Accepted = z.infer<typeof Accepted>;

/** Answer to a cancellation that was accepted. */
export const CancelAccepted = z.object({
  cancelling: field(z.literal(true), 'Always true: the build ends as `cancelled`, unless it ends before.', true),
  build_id,
  ticket_id,
});
export type CancelAccepted = z.infer<typeof CancelAccepted>;
