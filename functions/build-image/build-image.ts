import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { answerCall, type Call } from '#lib/api/call.ts';
import { formatPpa } from '#lib/api/ppa.ts';
import { type BuildRequest, type BuildRequestInput, HttpUrl, parseBuildRequest } from '#lib/api/request.ts';
import { refuseMethod } from '#lib/api/respond.ts';
import type { Accepted, BuildStatus } from '#lib/api/status.ts';
import { type Callers, mayChange, maySee } from '#lib/callers.ts';
import { ImageBuilderError, type RequestFault } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildJob } from '#lib/queue/job.ts';
import { type BuildView, isSameRequest, type Verdict } from '#lib/queue/ledger.ts';
import { toBuildStatus } from '#lib/queue/status.ts';
import { digestRequest } from '#lib/queue/submission.ts';
import type { FunctionEvent, Handler } from '../../template/node24-ts/function.ts';
import { type Admission, createAdmission, packageFaults } from './limits.ts';

export interface BuildImageDependencies {
  readonly broker: Broker;
  readonly log: Log;
  readonly callers: Callers;
  /** What `status_url` begins with; may be empty. */
  readonly publicUrl: string;
  /** Asks for a worker. Must neither throw nor take long. */
  readonly wake: () => void;
}

/** What the function answers: submit with POST, one build with GET, cancel with DELETE. */
export function buildImage(dependencies: BuildImageDependencies): Handler {
  const { log, callers } = dependencies;
  const admission = createAdmission(dependencies.broker.ledger);
  return (event, context) => {
    const [buildId, ...more] = event.path.split('/').filter((part) => part !== '');
    const path = buildId === undefined ? '/' : more.length === 0 ? '/{build_id}' : 'other';
    const about = buildId !== undefined && isBuildId(buildId) ? { build_id: buildId } : {};
    return answerCall({ callers, log, event, context, path, about }, async (call) => {
      if (buildId === undefined) {
        if (event.method !== 'POST') refuseMethod(call, event.method, ['POST']);
        return await submit(dependencies, admission, event, call);
      }
      if (more.length > 0) throw new ImageBuilderError('request.not_found', `there is nothing at ${event.path}`);
      if (event.method === 'GET') return await show(dependencies, buildId, call);
      if (event.method === 'DELETE') return await cancel(dependencies, buildId, call);
      return refuseMethod(call, event.method, ['GET', 'DELETE']);
    });
  };
}

async function submit(
  { broker, publicUrl, wake }: BuildImageDependencies,
  admission: Admission,
  event: FunctionEvent,
  call: Call,
): Promise<Accepted> {
  const { caller } = call;
  requireChange(call);
  requireJson(event);
  const request = parseBuildRequest(event.body, [...headerFaults(event), ...packageFaults(caller, event.body)]);
  call.note({ ticket_id: request.ticket_id });
  const callback = callbackOf(event, request);
  const accepted = (status: 200 | 202, buildId: string): Accepted => {
    call.status(status);
    call.note({ build_id: buildId });
    return {
      building: true,
      build_id: buildId,
      ticket_id: request.ticket_id,
      status_url: `${publicUrl}/api/v1/imagebuilder/status?build_id=${buildId}`,
    };
  };
  await broker.ledger.ready(readyPatienceMs);
  const now = new Date();
  const key = { caller: caller.name, ticketId: request.ticket_id, progressTrigger: request.progress_trigger };
  const known = broker.ledger.unfinished(key, now);
  const digest = digestRequest(request, callback?.url ?? null);
  if (known !== undefined) {
    if (!isSameRequest(known, digest)) throw conflict(known.buildId);
    return accepted(200, known.buildId);
  }

  const job: BuildJob = {
    build_id: randomUUID(),
    request: toInput(request),
    callback,
    submitted_at: now.toISOString(),
    submission: { caller: caller.name, request_sha256: digest },
  };
  using _place = admission.admit(caller, job.build_id, now);
  const verdict = await enqueue(broker, job).catch((error: unknown) => {
    // What RabbitMQ did not confirm it may have all the same, or still get: a refused build must not be built.
    broker.withdraw(job.build_id);
    throw error;
  });
  if (verdict === 'superseded') {
    const { supersededBy, conflicting } = broker.ledger.get(job.build_id) ?? {};
    if (typeof supersededBy === 'string' && conflicting === false) return accepted(200, supersededBy);
    throw conflict(supersededBy);
  }
  wake();
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

async function show({ broker }: BuildImageDependencies, buildId: string, call: Call): Promise<BuildStatus> {
  if (!isBuildId(buildId)) throw notFound(buildId);
  await broker.ledger.ready(readyPatienceMs);
  const build = await find(broker, buildId, call);
  return toBuildStatus(build, new Date(), { logTail: true });
}

async function cancel(
  { broker, wake }: BuildImageDependencies,
  path: string,
  call: Call,
): Promise<{ cancelling: true; build_id: string; ticket_id: string | number }> {
  requireChange(call);
  if (!isBuildId(path)) throw notFound(path);
  await broker.ledger.ready(readyPatienceMs);
  const build = await find(broker, path, call);
  const verdict = await broker.requestCancel(path);
  if (verdict === 'finished') {
    throw new ImageBuilderError('build.finished', `the build ${path} has already ended`);
  }
  // A build that still waits is ended by the worker that takes it.
  wake();
  call.status(202);
  return { cancelling: true, build_id: build.buildId, ticket_id: build.ticketId };
}

/** The build, where the caller may know of it. Another's is as unknown as one that does not exist. */
async function find({ ledger }: Broker, buildId: string, { caller, note }: Call): Promise<BuildView> {
  const build = await ledger.find(buildId, (known) => maySee(caller, known.caller));
  if (build === undefined || build.supersededBy !== null) throw notFound(buildId);
  note({ ticket_id: build.ticketId });
  return build;
}

/** Throws `request.forbidden` for callers who may only look. */
function requireChange({ caller }: Call): void {
  if (mayChange(caller)) return;
  throw new ImageBuilderError('request.forbidden', `${caller.name} may see builds, and neither submit nor cancel them`);
}

/** Throws `request.media_type` for a body that does not say it is JSON: pages of other sites cannot send one that does. */
function requireJson({ headers, rawBody }: FunctionEvent): void {
  const given = headers['content-type'] ?? '';
  const mediaType = given.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (rawBody.length === 0 || mediaType === 'application/json' || mediaType.endsWith('+json')) return;
  const said = given === '' ? 'the body has no type' : `the body is said to be ${JSON.stringify(given.slice(0, 100))}`;
  throw new ImageBuilderError(
    'request.media_type',
    `${said}; send it with the header "Content-Type: application/json"`,
  );
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
