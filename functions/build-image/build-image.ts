import { readJsonObject } from '#lib/api/body.ts';
import { isBuildId } from '#lib/api/build-id.ts';
import { type BuildPage, ListQuery } from '#lib/api/build-list.ts';
import { answerCall, type Call } from '#lib/api/call.ts';
import { parseQuery } from '#lib/api/query.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { refuseMethod } from '#lib/api/respond.ts';
import type { Accepted, BuildStatus } from '#lib/api/status.ts';
import { type Caller, type Callers, seenOwner } from '#lib/callers.ts';
import { ImageBuilderError, toImageBuilderError } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildView } from '#lib/queue/build.ts';
import { pageOf } from '#lib/queue/page.ts';
import { toBuildStatus } from '#lib/queue/status.ts';
import { readyPatienceMs, type SubmitOptions, submit as submitBuild } from '#lib/queue/submit.ts';
import type { Span, Tracer } from '#lib/trace/span.ts';
import { silentTracer } from '#lib/trace/tracer.ts';
import { parseTraceContext, traceFields, traceHeadersOf } from '#lib/trace-context.ts';
import type { FunctionEvent, Handler } from '../../template/node24-ts/function.ts';
import { find, notFound, requireChange } from './access.ts';
import { callbackOf, headerFaults } from './callback.ts';
import { type Admission, createAdmission, packageFaults } from './limits.ts';
import { createAnswerLog } from './log.ts';
import { checkRetry, ownerOf, repeatRequest } from './repeat.ts';

export interface BuildImageDependencies {
  readonly broker: Broker;
  readonly log: Log;
  readonly callers: Callers;
  /** The beginning of `status_url`; may be empty. */
  readonly publicUrl: string;
  /** Folder of the file store, which may be on another machine. */
  readonly storeDirectory: string;
  /** Wakes a worker. Must neither throw nor take long. */
  readonly wake: () => void;
  /** Records submissions. Default: nowhere. */
  readonly tracer?: Tracer;
}

/** The function: submits a build with POST, lists builds or shows one or its log with GET, cancels one, and repeats one. */
export function buildImage(dependencies: BuildImageDependencies): Handler {
  const { log, callers } = dependencies;
  const admission = createAdmission(dependencies.broker.ledger);
  const answerLog = createAnswerLog(dependencies);
  return (event, context) => {
    const { buildId, below, path } = readPath(event.path);
    const about = buildId !== undefined && isBuildId(buildId) ? { build_id: buildId } : {};
    return answerCall({ callers, log, event, context, path, about }, async (call) => {
      if (buildId === undefined) {
        if (event.method === 'GET') return await list(dependencies, event, call);
        if (event.method !== 'POST') refuseMethod(call, event.method, ['GET', 'POST']);
        return await submit(dependencies, admission, event, call);
      }
      switch (below) {
        case '/retry':
          if (event.method !== 'POST') refuseMethod(call, event.method, ['POST']);
          return await retry(dependencies, admission, event, call, buildId);
        case '/log':
          if (event.method !== 'GET') refuseMethod(call, event.method, ['GET']);
          return await answerLog(await known(dependencies, buildId, call), event, context, call);
        case null:
          throw new ImageBuilderError('request.not_found', `there is nothing at ${event.path}`);
        case '':
          return await showOrCancel(dependencies, event, call, buildId);
      }
    });
  };
}

/** The build that a path names, what follows its id (null: something that is not there), and the template of the path. */
function readPath(written: string) {
  const [buildId, ...more] = written.split('/').filter((part) => part !== '');
  const rest = more.join('/');
  const below = rest === '' ? '' : rest === 'retry' || rest === 'log' ? (`/${rest}` as const) : null;
  return { buildId, below, path: buildId === undefined ? '/' : below === null ? 'other' : `/{build_id}${below}` };
}

export function pathOf(written: string): string {
  return readPath(written).path;
}

async function submit(
  dependencies: BuildImageDependencies,
  admission: Admission,
  event: FunctionEvent,
  call: Call,
): Promise<Accepted> {
  const { caller } = call;
  requireChange(call);
  const body = readJsonObject(event);
  const request = parseBuildRequest(body, [...headerFaults(event), ...packageFaults(caller, body)]);
  call.note({ ticket_id: request.ticket_id });
  const submission = { request, callback: callbackOf(event, request) };
  return await accept(dependencies, admission, { ...submission, caller }, event, call);
}

async function retry(
  dependencies: BuildImageDependencies,
  admission: Admission,
  event: FunctionEvent,
  call: Call,
  formerId: string,
): Promise<Accepted> {
  const { broker, callers } = dependencies;
  requireChange(call);
  checkRetry(event);
  if (!isBuildId(formerId)) throw notFound(formerId);
  await broker.ledger.ready(readyPatienceMs);
  const former = await find(broker, formerId, call);
  const request = repeatRequest(former, event.headers['x-callback-url'] || undefined);
  const caller = ownerOf(former, request, callers, call.caller);
  call.note({ retry_of: formerId });
  const submission = { request, callback: callbackOf(event, request), retryOf: formerId };
  return await accept(dependencies, admission, { ...submission, caller }, event, call);
}

interface CallersSubmission extends Pick<SubmitOptions, 'request' | 'callback' | 'retryOf'> {
  readonly caller: Caller;
}

/** Submits a build for a caller, as an operation of its own in the trace of the call, and answers with it. */
async function accept(
  dependencies: BuildImageDependencies,
  admission: Admission,
  submission: CallersSubmission,
  event: FunctionEvent,
  call: Call,
): Promise<Accepted> {
  const { tracer = silentTracer } = dependencies;
  const span = tracer.start('submit build', 'server', parseTraceContext(event.headers), {
    'imagebuilder.ticket.id': String(submission.request.ticket_id),
  });
  call.note(traceFields(span.context));
  try {
    const accepted = await enqueue(dependencies, admission, submission, span, call);
    span.end(null, { 'imagebuilder.build.id': accepted.build_id });
    return accepted;
  } catch (error) {
    span.end(toImageBuilderError(error));
    throw error;
  }
}

async function enqueue(
  { broker, publicUrl, wake }: BuildImageDependencies,
  admission: Admission,
  submission: CallersSubmission,
  { context: trace }: Span,
  call: Call,
): Promise<Accepted> {
  const { caller, request } = submission;
  const { buildId, isNew, hindrance } = await submitBuild(broker, {
    ...submission,
    caller: caller.name,
    trace,
    admit: (id, now) => admission.admit(caller, id, now),
  });
  if (isNew) wake();
  call.status(isNew ? 202 : 200);
  call.note({ build_id: buildId });
  const build = broker.ledger.get(buildId);
  // The same request may be in work already, in the trace of another call.
  call.headers({ traceparent: build?.trace?.traceparent ?? traceHeadersOf(trace).traceparent });
  const retryOf = build?.retryOf ?? null;
  return {
    building: true,
    build_id: buildId,
    ticket_id: request.ticket_id,
    ...(retryOf === null ? {} : { retry_of: retryOf }),
    status_url: `${publicUrl}/api/v1/imagebuilder/status?build_id=${buildId}`,
    ...(hindrance === null ? {} : { warnings: [hindrance] }),
  };
}

async function list({ broker }: BuildImageDependencies, event: FunctionEvent, call: Call): Promise<BuildPage> {
  const query = parseQuery(ListQuery, event.query);
  call.note({ ticket_id: query.ticket_id });
  await broker.ledger.ready(readyPatienceMs);
  return pageOf(broker.ledger, new Date(), query, seenOwner(call.caller));
}

/** The build that a path names, where the caller may see it. */
async function known({ broker }: BuildImageDependencies, buildId: string, call: Call): Promise<BuildView> {
  if (!isBuildId(buildId)) throw notFound(buildId);
  await broker.ledger.ready(readyPatienceMs);
  return await find(broker, buildId, call);
}

async function showOrCancel(dependencies: BuildImageDependencies, event: FunctionEvent, call: Call, buildId: string) {
  if (event.method === 'GET') return await show(dependencies, buildId, call);
  if (event.method === 'DELETE') return await cancel(dependencies, buildId, call);
  return refuseMethod(call, event.method, ['GET', 'DELETE']);
}

async function show(dependencies: BuildImageDependencies, buildId: string, call: Call): Promise<BuildStatus> {
  const { broker } = dependencies;
  const build = await known(dependencies, buildId, call);
  const now = new Date();
  return toBuildStatus(build, now, { details: true, place: broker.ledger.placeInQueue(buildId, now) });
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
