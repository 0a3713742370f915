import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { formatPpa } from '#lib/api/ppa.ts';
import { type BuildRequest, type BuildRequestInput, HttpUrl, parseBuildRequest } from '#lib/api/request.ts';
import { refuseMethod, requireToken, respond } from '#lib/api/respond.ts';
import type { Accepted, BuildStatus } from '#lib/api/status.ts';
import { ImageBuilderError, type RequestFault } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildJob } from '#lib/queue/job.ts';
import { isSameRequest, type Verdict } from '#lib/queue/projection.ts';
import { toBuildStatus } from '#lib/queue/status.ts';
import { digestRequest } from '#lib/queue/submission.ts';
import { trimEndOf } from '#lib/text.ts';
import type { FunctionContext, FunctionEvent, Handler } from '../../template/node24-ts/function.ts';

export interface BuildImageDependencies {
  readonly broker: Broker;
  readonly log: Log;
  /** Every call must carry it; null: none needs to. */
  readonly token: string | null;
  /** What `status_url` begins with; may be empty. */
  readonly publicUrl: string;
  /** Asks for a worker. Must neither throw nor take long. */
  readonly wake: () => void;
}

/** What the function answers: submit with POST, one build with GET, cancel with DELETE. */
export function buildImage(dependencies: BuildImageDependencies): Handler {
  const { log, token } = dependencies;
  return (event, context) =>
    respond(context, log, async () => {
      requireToken(token, event.headers.authorization);
      const path = trimEndOf(event.path.replace(/^\/+/, ''), '/');
      if (path === '') {
        if (event.method !== 'POST') refuseMethod(context, event.method, ['POST']);
        return await submit(dependencies, event, context);
      }
      if (path.includes('/')) throw new ImageBuilderError('request.not_found', `there is nothing at /${path}`);
      if (event.method === 'GET') return await show(dependencies, path);
      if (event.method === 'DELETE') return await cancel(dependencies, path, context);
      return refuseMethod(context, event.method, ['GET', 'DELETE']);
    });
}

async function submit(
  { broker, log, publicUrl, wake }: BuildImageDependencies,
  event: FunctionEvent,
  context: FunctionContext,
): Promise<Accepted> {
  const request = parseBuildRequest(event.body, headerFaults(event));
  const callback = callbackOf(event, request);
  const accepted = (status: 200 | 202, buildId: string): Accepted => {
    context.status(status);
    return {
      building: true,
      build_id: buildId,
      ticket_id: request.ticket_id,
      status_url: `${publicUrl}/api/v1/imagebuilder/status?build_id=${buildId}`,
    };
  };
  await broker.projection.ready(readyPatienceMs);
  const known = broker.projection.unfinished(request.ticket_id, request.progress_trigger, new Date());
  const digest = digestRequest(request, callback?.url ?? null);
  if (known !== undefined) {
    if (!isSameRequest(known, digest)) throw conflict(known.buildId);
    return accepted(200, known.buildId);
  }

  const job: BuildJob = {
    build_id: randomUUID(),
    request: toInput(request),
    callback,
    submitted_at: new Date().toISOString(),
    submission: { request_sha256: digest },
  };
  const verdict = await enqueue(broker, job).catch((error: unknown) => {
    // What RabbitMQ did not confirm it may have all the same, or still get: a refused build must not be built.
    broker.withdraw(job.build_id);
    throw error;
  });
  if (verdict === 'superseded') {
    const { supersededBy, conflicting } = broker.projection.get(job.build_id) ?? {};
    if (typeof supersededBy === 'string' && conflicting === false) return accepted(200, supersededBy);
    throw conflict(supersededBy);
  }
  wake();
  log.info('build accepted', { build_id: job.build_id, ticket_id: request.ticket_id });
  return accepted(202, job.build_id);
}

async function enqueue(broker: Broker, job: BuildJob): Promise<Verdict> {
  const { ticket_id, progress_trigger } = job.request;
  // The job first: an event without a job would announce a build that never starts.
  await broker.jobs.submit(job);
  return await broker.publishEvent(
    {
      build_id: job.build_id,
      ticket_id,
      progress_trigger,
      sequence: 0,
      attempt: 0,
      time: job.submitted_at,
      worker: null,
      state: 'queued',
      step: null,
      message: 'Waiting for a worker',
      current: null,
      total: null,
      progress: 0,
    },
    { submission: job.submission, patienceMs: eventPatienceMs },
  );
}

async function show({ broker }: BuildImageDependencies, buildId: string): Promise<BuildStatus> {
  if (!isBuildId(buildId)) throw notFound(buildId);
  await broker.projection.ready(readyPatienceMs);
  const build = await broker.projection.find(buildId);
  if (build === undefined || build.supersededBy !== null) throw notFound(buildId);
  return toBuildStatus(build, new Date(), { logTail: true });
}

async function cancel(
  { broker, log, wake }: BuildImageDependencies,
  path: string,
  context: FunctionContext,
): Promise<{ cancelling: true; build_id: string; ticket_id: string | number }> {
  if (!isBuildId(path)) throw notFound(path);
  await broker.projection.ready(readyPatienceMs);
  const build = await broker.projection.find(path);
  if (build === undefined || build.supersededBy !== null) throw notFound(path);
  const verdict = await broker.requestCancel(path);
  if (verdict === 'finished') {
    throw new ImageBuilderError('build.finished', `the build ${path} has already ended`);
  }
  log.info('cancel asked for', { build_id: path, ticket_id: build.ticketId });
  // A build that still waits is ended by the worker that takes it.
  wake();
  context.status(202);
  return { cancelling: true, build_id: build.buildId, ticket_id: build.ticketId };
}

/** A caller waits: rather a 503 soon than an answer late. */
const readyPatienceMs = 10_000;
const eventPatienceMs = 6_000;

/** What is none needs no RabbitMQ to say so. */
function isBuildId(text: string): boolean {
  return z.uuid().safeParse(text).success;
}

function conflict(buildId: string | null | undefined): ImageBuilderError {
  return new ImageBuilderError(
    'request.conflict',
    `another request with this ticket_id and progress_trigger is in work${buildId ? `, as build ${buildId}` : ''}`,
  );
}

function notFound(buildId: string): ImageBuilderError {
  return new ImageBuilderError('build.not_found', `no build ${JSON.stringify(buildId.slice(0, 64))} is known`);
}

/** The request as it goes into the job: what was validated, nothing else, PPAs in their canonical spelling. */
function toInput(request: BuildRequest): BuildRequestInput {
  return { ...request, ppa_list: request.ppa_list.map(formatPpa) };
}

function headerFaults({ headers }: FunctionEvent): RequestFault[] {
  const faults: RequestFault[] = [];
  const url = headers['x-callback-url'] || null;
  if (url !== null && !HttpUrl.safeParse(url).success) {
    faults.push({ path: 'X-Callback-Url', message: 'must be an absolute http or https URL without a password' });
  }
  if ((headers['x-call-id'] ?? '').length > 256) {
    faults.push({ path: 'X-Call-Id', message: 'must be at most 256 characters' });
  }
  return faults;
}

/** OpenFaaS's own header comes before the body's `callback_url`. A header without a value is none. */
function callbackOf({ headers }: FunctionEvent, request: BuildRequest): BuildJob['callback'] {
  const url = headers['x-callback-url'] || request.callback_url || null;
  return url === null ? null : { url, call_id: headers['x-call-id'] || randomUUID() };
}
