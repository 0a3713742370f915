import { z } from 'zod';
import { type ErrorCode, errorTable } from '../errors.ts';
import { ArtifactReport, exampleArtifacts } from './artifact-report.ts';
import { field } from './field.ts';
import { exampleImage, ImageResult } from './image-result.ts';
import { ExchangeName, TicketId } from './request.ts';

/** The one event about a build. The caller's exchange, the events stream and the callback all receive it. */

/** The steps of a build, in order, with their names as users see them. */
export const buildSteps = [
  'fetch',
  'reuse',
  'inspect',
  'open',
  'sources',
  'install',
  'seal',
  'layers',
  'repack',
  'check',
  'upload',
] as const;
export const BuildStep = z.enum(buildSteps);
export type BuildStep = z.infer<typeof BuildStep>;

/**
 * The steps of every image that is built anew: `layers` is for images with several layers, `reuse` for requests whose image
 * was built before.
 */
export const usualSteps: readonly BuildStep[] = buildSteps.filter((step) => step !== 'layers' && step !== 'reuse');

/** The steps that a person can stop at: for them, an image is always built anew. */
export const stepsToStopAt: readonly BuildStep[] = buildSteps.filter((step) => step !== 'reuse');

export const BuildState = z.enum(['queued', 'running', 'completed', 'failed', 'cancelled']);
export type BuildState = z.infer<typeof BuildState>;

/** True for the states that end a build: exactly one event with such a state is sent per build. */
export function isTerminal(state: BuildState): boolean {
  return state === 'completed' || state === 'failed' || state === 'cancelled';
}

/** How a worker opens images. */
export const GuestReport = z.object({
  kind: field(z.enum(['host', 'vm']), '`host` mounts images, `vm` opens them in a small virtual machine.', 'vm'),
  accelerator: field(
    z.enum(['kvm', 'tcg']).nullable(),
    'How the virtual machine runs: with KVM, or with the emulator TCG, which is slow. Null for `host`.',
    'kvm',
  ),
  reason: field(z.string(), 'Reason of the choice, for people.', 'a guest starts with KVM'),
});
export type GuestReport = z.infer<typeof GuestReport>;

/** The times of one step of an attempt, by the worker's clock. */
export const StepTimes = z.object({
  step: field(BuildStep, 'The step.', 'fetch'),
  started_at: field(z.iso.datetime(), 'The moment when it began.', '2026-01-01T12:00:01.000Z'),
  ended_at: field(
    z.iso.datetime().nullable(),
    'The moment of its end; null while it is on.',
    '2026-01-01T12:00:09.000Z',
  ),
});
export type StepTimes = z.infer<typeof StepTimes>;
export const exampleSteps: StepTimes[] = [
  { step: 'fetch', started_at: '2026-01-01T12:00:01.000Z', ended_at: '2026-01-01T12:00:09.000Z' },
  { step: 'inspect', started_at: '2026-01-01T12:00:09.000Z', ended_at: null },
];

const errorCodes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]];

/** The reason why a build failed or was cancelled. */
export const BuildErrorReport = z.object({
  code: field(z.enum(errorCodes), 'Name of the error, for programs; docs/errors.md lists all.', 'ppa.not_found'),
  message: field(z.string(), 'The case at hand, for people.', 'there is no PPA ppa:example/tools'),
  step: field(BuildStep.nullable(), 'The step that failed; null outside the steps.', 'sources'),
  fault: field(
    z.enum(['request', 'upstream', 'service']),
    'The party that has to act: the caller (`request`), a server that Image Builder depends on (`upstream`), or the operator (`service`).',
    'request',
  ),
  retryable: field(z.boolean(), 'True where the same request may succeed later without any change to it.', false),
  log_tail: field(z.array(z.string()), 'The last lines of the build’s log, oldest first.', [
    'Launchpad answered 404 for ppa:example/tools',
  ]).optional(),
});
export type BuildErrorReport = z.infer<typeof BuildErrorReport>;

export const BuildEvent = z.object({
  build_id: field(
    z.uuid(),
    'Identifier of the build, which the submission was answered with.',
    '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55',
  ),
  ticket_id: field(TicketId, 'The caller’s own name of the job, as it stood in the request.', 'T-77'),
  progress_trigger: field(ExchangeName, 'The exchange that the request named for the events.', 'lander.progress'),
  sequence: field(
    z.int().nonnegative(),
    'Rises by at least one with every event of a build. Sort by it where order matters, and drop an event whose number you have seen.',
    17,
  ),
  attempt: field(z.int().nonnegative(), 'How often a worker has started the build; 0 while no worker has.', 1),
  time: field(z.iso.datetime(), 'The moment of the event.', '2026-01-01T12:00:42.000Z'),
  worker: field(z.string().nullable(), 'Name of the worker; null for an event that no worker has sent.', 'worker-1'),
  state: field(
    BuildState,
    '`queued`, then `running`, then exactly one of `completed`, `failed` and `cancelled`. A worker that gives a build back makes it `queued` again.',
    'running',
  ),
  step: field(BuildStep.nullable(), 'The step that the build is at; null outside the steps.', 'install'),
  message: field(z.string(), 'News for people.', 'Unpacking hello (2.10-3)'),
  current: field(
    z.number().nonnegative().nullable(),
    'How far the step is, in its own unit (bytes, packages); null where that is not known.',
    3,
  ),
  total: field(
    z.number().nonnegative().nullable(),
    'The value of `current` at the end of the step; null where that is not known.',
    7,
  ),
  progress: field(z.number().min(0).max(1), 'How far the whole build is, 0 to 1.', 0.62),
  log: field(
    z.array(z.string()).max(20),
    'The newest lines of the build’s log since the event before. `(N lines left out)` stands for lines before them.',
    ['Setting up hello (2.10-3) ...'],
  ).optional(),
  guest: field(GuestReport, 'How the worker opens images: in one event of each attempt, as soon as it is known.', {
    kind: 'vm',
    accelerator: 'kvm',
    reason: 'a guest starts with KVM',
  }).optional(),
  steps: field(
    z.array(StepTimes),
    'The steps of the attempt so far: in the first event after a step has begun, and in the last event of each attempt.',
    exampleSteps,
  ).optional(),
  image: field(ImageResult, 'The finished image: with `completed`.', exampleImage).optional(),
  artifacts: field(
    z.array(ArtifactReport),
    'Files that the build has put into the store beside the image, or without one: with its last event, where there are some.',
    exampleArtifacts,
  ).optional(),
  error: field(
    BuildErrorReport,
    'With `failed` and `cancelled`, the reason. With `queued`, why the attempt before failed, when a worker gives the build back to be tried again.',
    {
      code: 'ppa.not_found',
      message: 'there is no PPA ppa:example/tools',
      step: 'sources',
      fault: 'request',
      retryable: false,
    },
  ).optional(),
});
export type BuildEvent = z.infer<typeof BuildEvent>;
