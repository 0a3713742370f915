import { exampleArtifacts } from './artifact-report.ts';
import { type BuildEvent, type BuildState, type StepTimes, usualSteps } from './event.ts';
import { exampleImage } from './image-result.ts';

/** One event of each state, as builds send them, with paths, hosts and times of an example. docs/api.md shows them. */

const build = {
  build_id: exampleImage.id,
  ticket_id: 'T-77',
  progress_trigger: 'lander.progress',
};

/** Times of the first steps, each of which begins when the one before has ended. */
function stepsFrom(start: string, durationsMs: readonly number[]): StepTimes[] {
  const ends = durationsMs.map((_, index) => durationsMs.slice(0, index + 1).reduce((sum, one) => sum + one));
  const at = (ms: number) => new Date(Date.parse(start) + ms).toISOString();
  return ends.map((end, index) => ({
    ...{ step: usualSteps[index] ?? 'upload', started_at: at(ends[index - 1] ?? 0), ended_at: at(end) },
  }));
}

export const exampleEvents = {
  queued: {
    ...build,
    sequence: 0,
    attempt: 0,
    time: '2026-11-26T21:15:03.391Z',
    worker: null,
    state: 'queued',
    step: null,
    message: 'Waiting for a worker',
    current: null,
    total: null,
    progress: 0,
  },
  running: {
    ...build,
    sequence: 11,
    attempt: 1,
    time: '2026-11-26T21:15:09.165Z',
    worker: 'worker-1',
    state: 'running',
    step: 'install',
    message: 'Installed jq (amd64)',
    current: 7,
    total: 8,
    progress: Math.LN2,
    log: ['(18 lines left out)', 'Setting up jq (1.6-2.1+deb12u3) ...'],
  },
  completed: {
    ...build,
    sequence: 16,
    attempt: 1,
    time: '2026-11-26T21:15:11.205Z',
    worker: 'worker-1',
    state: 'completed',
    step: null,
    message: `the image is at ${exampleImage.location}`,
    current: null,
    total: null,
    progress: 1,
    steps: stepsFrom('2026-11-26T21:15:03.420Z', [2_310, 190, 640, 1_270, 1_760, 250, 820, 410, 132]),
    image: exampleImage,
    artifacts: exampleArtifacts,
  },
  failed: {
    ...{ ...build, build_id: '2e212d27-a70c-4030-912f-0808e6a71753', ticket_id: 'T-79' },
    sequence: 4,
    attempt: 1,
    time: '2026-11-26T21:14:49.911Z',
    worker: 'worker-1',
    state: 'failed',
    step: 'fetch',
    message: 'Launchpad knows no ppa:nobody/nothing: check the spelling of owner and name, and that the PPA is public',
    current: null,
    total: null,
    progress: 0,
    steps: stepsFrom('2026-11-26T21:14:49.104Z', [807]),
    error: {
      code: 'ppa.not_found',
      message:
        'Launchpad knows no ppa:nobody/nothing: check the spelling of owner and name, and that the PPA is public',
      step: 'fetch',
      fault: 'request',
      retryable: false,
    },
  },
  cancelled: {
    ...{ ...build, build_id: 'd9e537cd-284b-4c08-8ee2-956f370fb538', ticket_id: 'T-78' },
    sequence: 17,
    attempt: 1,
    time: '2026-11-26T21:15:02.603Z',
    worker: 'worker-1',
    state: 'cancelled',
    step: 'install',
    message: 'cancelled by request',
    current: null,
    total: null,
    progress: 0.43,
    steps: stepsFrom('2026-11-26T21:14:54.873Z', [2_290, 180, 650, 1_310, 3_300]),
    error: {
      code: 'build.cancelled',
      message: 'cancelled by request',
      step: 'install',
      fault: 'request',
      retryable: false,
      log_tail: ['Fetched 9423 kB in 3s (3294 kB/s)', 'Reading package lists...'],
    },
  },
} as const satisfies { readonly [State in BuildState]: BuildEvent & { readonly state: State } };
