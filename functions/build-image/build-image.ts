import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { readJsonObject } from '#lib/api/body.ts';
import { type BuildPage, ListQuery } from '#lib/api/build-list.ts';
import { answerCall, type Call } from '#lib/api/call.ts';
import { parseQuery } from '#lib/api/query.ts';
import { type BuildRequest, parseBuildRequest } from '#lib/api/request.ts';
import { refuseMethod } from '#lib/api/respond.ts';
import type { Accepted, BuildStatus } from '#lib/api/status.ts';
import { HttpUrl } from '#lib/api/url.ts';
import { type Callers, mayChange, maySee } from '#lib/callers.ts';
import { ImageBuilderError, type RequestFault } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildView } from '#lib/queue/build.ts';
import type { BuildJob } from '#lib/queue/job.ts';
import { pageOf } from '#lib/queue/page.ts';
import { placesOf, toBuildStatus } from '#lib/queue/status.ts';
import { readyPatienceMs, submit as submitBuild } from '#lib/queue/submit.ts';
import type { FunctionEvent, Handler } from '../../template/node24-ts/function.ts';
import { type Admission, createAdmission, packageFaults } from './limits.ts';

export interface BuildImageDependencies {
  readonly broker: Broker;
  readonly log: Log;
  readonly callers: Callers;
  /** The beginning of `status_url`; may be empty. */
  readonly publicUrl: string;
  /** Wakes a worker. Must neither throw nor take long. */
  readonly wake: () => void;
}

/** The function: submits a build with POST, lists builds or shows one with GET, cancels one with DELETE. */
export function buildImage(dependencies: BuildImageDependencies): Handler {
  const { log, callers } = dependencies;
  const admission = createAdmission(dependencies.broker.ledger);
  return (event, context) => {
    const [buildId, ...more] = event.path.split('/').filter((part) => part !== '');
    const path = buildId === undefined ? '/' : more.length === 0 ? '/{build_id}' : 'other';
    const about = buildId !== undefined && isBuildId(buildId) ? { build_id: buildId } : {};
    return answerCall({ callers, log, event, context, path, about }, async (call) => {
      if (buildId === undefined) {
        if (event.method === 'GET') return await list(dependencies, event, call);
        if (event.method !== 'POST') refuseMethod(call, event.method, ['GET', 'POST']);
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
  const body = readJsonObject(event);
  const request = parseBuildRequest(body, [...headerFaults(event), ...packageFaults(caller, body)]);
  call.note({ ticket_id: request.ticket_id });
  const { buildId, isNew, hindrance } = await submitBuild(broker, {
    ...{ request, callback: callbackOf(event, request), caller: caller.name },
    admit: (id, now) => admission.admit(caller, id, now),
  });
  if (isNew) wake();
  call.status(isNew ? 202 : 200);
  call.note({ build_id: buildId });
  return {
    building: true,
    build_id: buildId,
    ticket_id: request.ticket_id,
    status_url: `${publicUrl}/api/v1/imagebuilder/status?build_id=${buildId}`,
    ...(hindrance === null ? {} : { warnings: [hindrance] }),
  };
}

async function list({ broker }: BuildImageDependencies, event: FunctionEvent, call: Call): Promise<BuildPage> {
  const query = parseQuery(ListQuery, event.query);
  call.note({ ticket_id: query.ticket_id });
  await broker.ledger.ready(readyPatienceMs);
  return pageOf(broker.ledger, new Date(), query, (build) => maySee(call.caller, build.caller));
}

async function show({ broker }: BuildImageDependencies, buildId: string, call: Call): Promise<BuildStatus> {
  if (!isBuildId(buildId)) throw notFound(buildId);
  await broker.ledger.ready(readyPatienceMs);
  const build = await find(broker, buildId, call);
  const now = new Date();
  const place = placesOf(broker.ledger.waiting(now), [buildId]).get(buildId);
  return toBuildStatus(build, now, { logTail: true, place });
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
  // The worker that takes a waiting build ends it.
  wake();
  call.status(202);
  return { cancelling: true, build_id: build.buildId, ticket_id: build.ticketId };
}

/** The build, where the caller may know of it. Another caller's build looks the same as one that does not exist. */
async function find({ ledger }: Broker, buildId: string, { caller, note }: Call): Promise<BuildView> {
  const build = await ledger.find(buildId, (known) => maySee(caller, known.caller));
  if (build === undefined || build.supersededBy !== null) throw notFound(buildId);
  note({ ticket_id: build.ticketId });
  return build;
}

/** Throws `request.forbidden` for callers who may only read. */
function requireChange({ caller }: Call): void {
  if (mayChange(caller)) return;
  throw new ImageBuilderError('request.forbidden', `${caller.name} may see builds, and neither submit nor cancel them`);
}

/** Malformed ids are rejected without asking RabbitMQ. */
function isBuildId(text: string): boolean {
  return z.uuid().safeParse(text).success;
}

function notFound(buildId: string): ImageBuilderError {
  return new ImageBuilderError('build.not_found', `no build ${JSON.stringify(buildId.slice(0, 64))} is known`);
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

/** OpenFaaS's own header wins over the body's `callback_url`. A header without a value does not count. */
function callbackOf({ headers }: FunctionEvent, request: BuildRequest): BuildJob['callback'] {
  const url = headers['x-callback-url'] || request.callback_url || null;
  return url === null ? null : { url, call_id: headers['x-call-id'] || randomUUID() };
}
