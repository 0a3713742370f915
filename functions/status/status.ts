import { z } from 'zod';
import { answerCall, answerOpenCall } from '#lib/api/call.ts';
import { isTerminal } from '#lib/api/event.ts';
import { parseQuery } from '#lib/api/query.ts';
import { type Answer, refuseMethod } from '#lib/api/respond.ts';
import { type Caller, type Callers, maySee, seenOwner } from '#lib/callers.ts';
import { ImageBuilderError, messageOf } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildRow, BuildView } from '#lib/queue/build.ts';
import { type Overview, overviewOf } from '#lib/queue/overview.ts';
import { createSample } from '#lib/queue/sample.ts';
import { allUnable } from '#lib/queue/seen-workers.ts';
import { noBuilds, toBuildStatus } from '#lib/queue/status.ts';
import { version } from '#lib/version.ts';
import type { Handler } from '../../template/node24-ts/function.ts';
import { createDocuments, type DocumentPath, isDocumentPath } from './documents.ts';
import { createEncoder } from './encoder.ts';
import { createOverviews, type Overviews } from './overviews.ts';
import { createPage } from './page.ts';
import { createStreams, type StatusDocument } from './streams.ts';

export interface StatusDependencies {
  readonly broker: Broker;
  readonly log: Log;
  readonly callers: Callers;
  /** Address of the API for callers; may be empty. */
  readonly publicUrl: string;
}

/** Query parameters; where both are given, a build must match both. */
const Query = z.strictObject({
  ticket_id: z.string().min(1).max(256).optional(),
  build_id: z.uuid({ error: 'must be a build id, a UUID' }).optional(),
});
type Query = z.infer<typeof Query>;

/** Time that a call waits for the past to be read, after a cold start, and for the depth of the queue. */
const readyPatienceMs = 20_000;
/** While the broker is away, the last known state is better than a late answer. */
const awayPatienceMs = 3_000;

/** The function: answers with the builder's own state, its builds, the API's description, and the live page. */
export function status(dependencies: StatusDependencies): Handler {
  const { broker, log, callers, publicUrl } = dependencies;
  const documentAt = createDocuments(publicUrl);
  const overviews = createOverviews(broker.ledger);
  const encode = createEncoder();
  const aside = createSample(() => broker.jobs.aside());
  const streams = createStreams();
  const page = createPage(publicUrl);

  const report = async (query: Query, caller: Caller): Promise<StatusDocument> => {
    const problem = await brokerProblem(broker);
    const overview = await show(broker, overviews, query, caller, problem === null);
    const jobs = problem === null ? await aside().catch(() => null) : null;
    const state = {
      status:
        problem === null && allUnable(broker.ledger.workers(), new Date()) === null
          ? ('ok' as const)
          : ('degraded' as const),
      version,
      broker: {
        reachable: problem === null,
        queue_depth: problem === null ? broker.ledger.waiting(new Date()).size : null,
        dropped: jobs?.dropped ?? null,
        buried: jobs?.buried ?? null,
        ...(problem === null ? {} : { message: problem }),
      },
    };
    return { status: { ...state, ...overview }, bytes: encode(state, overview) };
  };

  return (event, context) => {
    const path = pathOf(event.path);
    if (isOpenPath(path)) {
      return answerOpenCall({ log, event, context, path }, async (answer) => {
        requireRead(answer, event.method);
        if (isDocumentPath(path)) return documentAt(path);
        return page.answer(answer, path === '/page' ? 'index.html' : (partsOf(event.path).at(-1) ?? ''), event.headers);
      });
    }
    return answerCall({ callers, log, event, context, path }, async (call) => {
      if (path === 'other') throw new ImageBuilderError('request.not_found', `there is nothing at ${event.path}`);
      requireRead(call, event.method);
      const query = parseQuery(Query, event.query);
      call.note(query);
      const { caller } = call;
      const first = await report(query, caller);
      if (path === '/') {
        call.headers({ 'content-type': 'application/json' });
        return first.bytes;
      }
      const key = JSON.stringify([caller.name, query.build_id, query.ticket_id]);
      const stream = streams.open(key, () => report(query, caller), [context.stopping, context.disconnected]);
      call.headers({ 'content-type': 'text/event-stream' });
      return stream;
    });
  };
}

type OpenPath = DocumentPath | '/page' | '/page/{file}';

/** True for the paths that need no token. */
function isOpenPath(path: ReturnType<typeof pathOf>): path is OpenPath {
  return path !== '/' && path !== '/events' && path !== 'other';
}

/** The path, as far as the function has it; else `other`. */
export function pathOf(written: string): OpenPath | '/' | '/events' | 'other' {
  const parts = partsOf(written);
  const path = `/${parts.join('/')}`;
  if (path === '/' || path === '/events' || path === '/page' || isDocumentPath(path)) return path;
  // The files lie at `page/…` beside the page, which is also at `/page/`.
  return /^\/page(?:\/page)?\/[^/]+$/.test(path) && path !== '/page/page' ? '/page/{file}' : 'other';
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '');
}

function requireRead(answer: Answer, method: string): void {
  if (method !== 'GET' && method !== 'HEAD') refuseMethod(answer, method, ['GET', 'HEAD']);
}

/** The builds that the query asks for. Throws `build.not_found` for one that is not there, where that is certain. */
async function show(
  { ledger }: Broker,
  overviews: Overviews,
  { build_id, ticket_id }: Query,
  caller: Caller,
  certain: boolean,
): Promise<Overview> {
  const visible = (build: BuildRow) => maySee(caller, build.caller);
  const matches = (build: BuildRow) => ticket_id === undefined || String(build.ticketId) === ticket_id;
  if (build_id === undefined) {
    return ticket_id === undefined
      ? overviews.of(caller)
      : overviewOf(ledger, new Date(), { caller: seenOwner(caller), ticketId: ticket_id });
  }
  const known = certain ? await ledger.find(build_id, visible) : ledger.get(build_id);
  const build = known !== undefined && known.supersededBy === null && visible(known) && matches(known) ? known : null;
  if (build === null && certain) {
    throw new ImageBuilderError('build.not_found', `no build "${build_id}" is known here`);
  }
  const { workers, workers_gone } = overviews.of(caller);
  return { ...withOnly(ledger, build), workers, workers_gone };
}

/** One build in the list where it belongs, with the newest lines of its log; null: none. */
function withOnly(ledger: Broker['ledger'], build: BuildView | null): Omit<Overview, 'workers' | 'workers_gone'> {
  const lists = { counts: noBuilds, running: [], queued: [], finished: [] };
  if (build === null) return lists;
  const now = new Date();
  const place = ledger.placeInQueue(build.buildId, now);
  const list = isTerminal(build.state) ? 'finished' : build.state === 'running' ? 'running' : 'queued';
  const counts = { ...noBuilds, [build.state]: 1 };
  return { ...lists, counts, [list]: [toBuildStatus(build, now, { details: true, place })] };
}

/** The reason why the ledger may be out of date, or null when it is not. */
async function brokerProblem(broker: Broker): Promise<string | null> {
  if (broker.ledger.caughtUp && broker.reachable().reachable) return null;
  try {
    // A short wait bridges a short outage; a long one only makes sense while the past is being read.
    await broker.ledger.ready(awayPatienceMs);
    return null;
  } catch (error) {
    if (!broker.reachable().reachable) return messageOf(error);
  }
  try {
    await broker.ledger.ready(readyPatienceMs);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}
