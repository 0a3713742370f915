import { z } from 'zod';
import { seconds, wholeNumber } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** One worker and its attempts at builds. */
export const workerSettings = {
  buildTimeoutMs: setting('IMAGEBUILDER_BUILD_TIMEOUT', seconds, '7200', 'Time limit of a build, in seconds.'),
  heartbeatMs: setting(
    'IMAGEBUILDER_HEARTBEAT',
    seconds.refine((ms) => ms <= 60_000, { error: 'must be at most 60 seconds: callers give up on silence' }),
    '20',
    'Seconds between events when nothing changes (at most 60).',
  ),
  maximumAttempts: setting(
    'IMAGEBUILDER_MAXIMUM_ATTEMPTS',
    wholeNumber.refine((count) => count > 0, { error: 'must be at least 1' }),
    '3',
    'Number of attempts of one build that may be lost to dead workers or guests before it fails.',
  ),
  cancelPollMs: setting('IMAGEBUILDER_CANCEL_POLL', seconds, '10', 'Seconds between looks at the `cancel_url`.'),
  callbackTimeoutMs: setting(
    'IMAGEBUILDER_CALLBACK_TIMEOUT',
    seconds,
    '300',
    'Seconds for which a callback that fails is retried.',
  ),
  execTimeoutMs: setting(
    'IMAGEBUILDER_EXEC_TIMEOUT',
    seconds,
    '14400',
    'The exec_timeout of `build-worker`: seconds that one call may last. A worker takes no job when less than the build timeout is left of it.',
  ),
  workerName: setting(
    'IMAGEBUILDER_WORKER_NAME',
    z.string().max(128),
    '',
    'Name of this worker in events, to which a number is added: 1, or the next one where another worker of the machine has it. Empty: the host name.',
  ),
} as const satisfies Declarations;

export type WorkerSettings = SettingsOf<typeof workerSettings> & { readonly callbackSigningKey: string | null };
