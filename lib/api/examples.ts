import { exampleAttempts } from './attempt.ts';
import type { BuildPage } from './build-list.ts';
import { exampleSteps } from './event.ts';
import { exampleStoredBuild, type ImagePage } from './image-list.ts';
import { exampleKept } from './kept-request.ts';
import type { BuildRequestInput } from './request.ts';
import { type Accepted, type BuildStatus, type CancelAccepted, exampleBuild, type Status } from './status.ts';

/** Examples for the description of the API. */

const buildId = '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55';

export const exampleRequest = {
  ticket_id: 'T-77',
  cancel_url: 'http://lander.example.org/tickets/T-77',
  base_image: {
    image_type: 'cloud',
    url_list: ['http://cloud-images.ubuntu.com/trusty/current/trusty-server-cloudimg-amd64-disk1.img'],
    series: 'trusty',
  },
  ppa_list: ['ppa:example/tools'],
  package_list: ['hello', 'tree=1.6.0-1'],
  debconf_selections: ['tzdata tzdata/Areas select Europe'],
  hold_packages: ['hello'],
  progress_trigger: 'lander.progress',
} as const satisfies BuildRequestInput;

export const exampleAccepted: Accepted = {
  building: true,
  build_id: buildId,
  ticket_id: 'T-77',
  status_url: `/api/v1/imagebuilder/status?build_id=${buildId}`,
};

export const exampleCancelAccepted: CancelAccepted = { cancelling: true, build_id: buildId, ticket_id: 'T-77' };

export const exampleRetried: Accepted = {
  ...exampleAccepted,
  build_id: '7d1f6f0a-2f0b-4a54-8c07-1a4c1ce1c0de',
  retry_of: buildId,
  status_url: '/api/v1/imagebuilder/status?build_id=7d1f6f0a-2f0b-4a54-8c07-1a4c1ce1c0de',
};

/** One build, as it is answered where it alone was asked for. */
export const exampleWholeBuild: BuildStatus = {
  ...exampleBuild,
  log_tail: ['Setting up hello (2.10-3) ...'],
  request: exampleKept,
  steps: exampleSteps,
  attempts: exampleAttempts,
};

export const exampleStatus: Status = {
  status: 'ok',
  version: '0.2.0',
  broker: { reachable: true, queue_depth: 0, dropped: 0, buried: 0 },
  workers: [
    {
      name: 'worker-1',
      last_seen: '2026-01-01T12:00:42.000Z',
      builds: [buildId],
      guest: { kind: 'vm', accelerator: 'kvm', reason: 'a guest starts with KVM' },
    },
  ],
  workers_gone: 0,
  counts: { queued: 0, running: 1, completed: 0, failed: 0, cancelled: 0 },
  running: [exampleBuild],
  queued: [],
  finished: [],
};

export const examplePage: BuildPage = { builds: [exampleBuild], next_cursor: null };

export const exampleImagePage: ImagePage = { images: [exampleStoredBuild], next_cursor: null };
