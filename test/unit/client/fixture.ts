import type { BuildStatus, Status } from '#lib/api/status.ts';

/** A build in the middle of its installation. */
export function buildStatus(changes: Partial<BuildStatus> = {}): BuildStatus {
  return {
    build_id: '0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55',
    ticket_id: 42,
    progress_trigger: 'events',
    caller: 'lander',
    state: 'running',
    step: 'install',
    message: 'Unpacking hello',
    current: 13,
    total: 25,
    progress: 0.4,
    attempt: 1,
    worker: 'worker-1',
    queued_at: '2026-01-01T12:00:00Z',
    started_at: '2026-01-01T12:00:01Z',
    updated_at: '2026-01-01T12:01:05Z',
    finished_at: null,
    elapsed_seconds: 65,
    cancelling: false,
    log_tail: ['Get:1 hello', 'Unpacking hello'],
    ...changes,
  };
}

export const completed = buildStatus({
  state: 'completed',
  step: 'upload',
  message: 'done',
  progress: 1,
  finished_at: '2026-01-01T12:01:05Z',
  image: {
    id: '0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55',
    location: 'file:///store/image.qcow2',
    store: 'file',
    name: 'image.qcow2',
    size: 329_252_864,
    checksums: { sha256: 'a'.repeat(64), sha512: 'b'.repeat(128) },
    format: 'qcow2',
    packages: [{ name: 'hello', version: '2.10-3' }],
  },
});

export const failed = buildStatus({
  state: 'failed',
  message: 'Packages cannot be found: helo',
  finished_at: '2026-01-01T12:01:05Z',
  error: {
    code: 'apt.package',
    message: 'Packages cannot be found: helo',
    step: 'install',
    fault: 'request',
    retryable: false,
    log_tail: ['E: Unable to locate package helo'],
  },
});

export function statusOf(builds: readonly BuildStatus[]): Status {
  const of = (...states: string[]) => builds.filter((build) => states.includes(build.state));
  return {
    status: 'ok',
    version: '0.1.0',
    broker: { reachable: true, queue_depth: 0, dropped: 0, buried: 0 },
    workers: [{ name: 'worker-1', last_seen: '2026-01-01T12:01:05Z', builds: [] }],
    workers_gone: 0,
    counts: { queued: 0, running: 0, completed: 0, failed: 0, cancelled: 0 },
    running: of('running'),
    queued: of('queued'),
    finished: of('completed', 'failed', 'cancelled'),
  };
}
