import { z } from 'zod';
import { answerCall, answerOpenCall, type Call } from '#lib/api/call.ts';
import { check } from '#lib/api/faults.ts';
import { type Answer, refuseMethod } from '#lib/api/respond.ts';
import type { Status } from '#lib/api/status.ts';
import { type Callers, maySee } from '#lib/callers.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildView } from '#lib/queue/build.ts';
import { toBuildLists } from '#lib/queue/status.ts';
import { version } from '#lib/version.ts';
import type { Handler } from '../../template/node24-ts/function.ts';
import { createDocuments, isDocumentPath } from './documents.ts';

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

/** The function: answers with the builder's own state, its builds, and the API's description. */
export function status(dependencies: StatusDependencies): Handler {
  const { broker, log, callers, publicUrl } = dependencies;
  const documentAt = createDocuments(publicUrl);
  return (event, context) => {
    const parts = event.path.split('/').filter((part) => part !== '');
    const path = `/${parts.join('/')}`;
    if (isDocumentPath(path)) {
      return answerOpenCall({ log, event, context, path }, async (answer) => {
        requireRead(answer, event.method);
        return documentAt(path);
      });
    }
    const known = path === '/';
    return answerCall({ callers, log, event, context, path: known ? path : 'other' }, async (call) => {
      if (!known) throw new ImageBuilderError('request.not_found', `there is nothing at ${event.path}`);
      requireRead(call, event.method);
      const query = parseQuery(event.query);
      call.note(query);
      return await report(broker, query, call);
    });
  };
}

function requireRead(answer: Answer, method: string): void {
  if (method !== 'GET' && method !== 'HEAD') refuseMethod(answer, method, ['GET', 'HEAD']);
}

async function report(broker: Broker, query: Query, { caller }: Call): Promise<Status> {
  const problem = await brokerProblem(broker);
  const visible = (build: BuildView) => maySee(caller, build.caller);
  if (query.build_id !== undefined && problem === null) await broker.ledger.find(query.build_id, visible);
  const lists = toBuildLists(broker.ledger, new Date(), {
    visible,
    filter: (build) => matches(build, query),
    logTail: query.build_id !== undefined,
  });
  const found = lists.running.length + lists.queued.length + lists.finished.length > 0;
  if (query.build_id !== undefined && !found && problem === null) {
    throw new ImageBuilderError('build.not_found', `no build "${query.build_id}" is known here`);
  }
  const depth = problem === null ? await broker.jobs.depth().catch(() => null) : null;
  const aside = problem === null ? await broker.jobs.aside().catch(() => null) : null;
  return {
    status: problem === null ? 'ok' : 'degraded',
    version,
    broker: {
      reachable: problem === null,
      queue_depth: depth,
      dropped: aside?.dropped ?? null,
      buried: aside?.buried ?? null,
      ...(problem === null ? {} : { message: problem }),
    },
    ...lists,
  };
}

/** The reason why the ledger may be out of date, or null when it is not. */
async function brokerProblem(broker: Broker): Promise<string | null> {
  if (broker.ledger.caughtUp && broker.reachable().reachable) return null;
  try {
    // A short wait bridges a short outage; a long one only makes sense while the past is being read.
    await broker.ledger.ready(awayPatienceMs);
    return null;
  } catch (error) {
    if (!broker.reachable().reachable) return error instanceof Error ? error.message : String(error);
  }
  try {
    await broker.ledger.ready(readyPatienceMs);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function parseQuery(query: Readonly<Record<string, string>>): Query {
  const checked = check(Query, query);
  if (checked.faults === null) return checked.value;
  const { faults } = checked;
  throw new ImageBuilderError(
    'request.invalid',
    `the query has faults: ${faults.map((fault) => `${fault.path} ${fault.message}`).join('; ')}`,
    { faults },
  );
}

function matches(build: BuildView, { build_id, ticket_id }: Query): boolean {
  if (build_id !== undefined && build.buildId !== build_id) return false;
  return ticket_id === undefined || String(build.ticketId) === ticket_id;
}
