import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { isBuildId } from '#lib/api/build-id.ts';
import { Cursor } from '#lib/api/build-list.ts';
import type { ByteRange } from '#lib/api/byte-range.ts';
import { answerCall, type Call } from '#lib/api/call.ts';
import { isTerminal } from '#lib/api/event.ts';
import { createEventStreams, type EventStreams } from '#lib/api/event-streams.ts';
import { ImageListQuery, type ImagePage, type StoredBuildReport } from '#lib/api/image-list.ts';
import { followsLog, lastEventId } from '#lib/api/log-query.ts';
import { storedLogEvents } from '#lib/api/log-stream.ts';
import { parseQuery } from '#lib/api/query.ts';
import { refuseMethod } from '#lib/api/respond.ts';
import { sendText } from '#lib/api/send-text.ts';
import { type Callers, mayChange, maySee, seesAll } from '#lib/callers.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import type { LiveLedger } from '#lib/queue/live-ledger.ts';
import { readyPatienceMs } from '#lib/queue/submit.ts';
import type { StoredBuild } from '#lib/store/artifact.ts';
import type { StoredBuilds } from '#lib/store/stored-builds.ts';
import type { FunctionEvent, Handler } from '../../template/node24-ts/function.ts';
import { openStoredFile } from './stored-file.ts';
import { openStoredLog, partOf, type StoredLogOptions } from './stored-log.ts';

export interface ImagesDependencies {
  readonly ledger: Pick<LiveLedger, 'get' | 'ready'>;
  readonly log: Log;
  readonly callers: Callers;
  readonly stored: StoredBuilds;
  /** Folder of the file store, which may be on another machine. */
  readonly storeDirectory: string;
  /** Null where no cloud is configured. */
  readonly session: StoredLogOptions['session'];
}

/** Logs that are sent at a time. */
const maximumStreams = 100;

/** Time limit of the work in the store, within that of the function. */
const storeTimeoutMs = 20_000;
/** Pages of the store that one call looks through for builds that its caller may see, and the time for all but the last. */
const maximumPages = 5;
const pagesTimeoutMs = 10_000;

/** The function: lists what the store has, shows what it has of one build, hands out files beside images, and deletes. */
export function images(dependencies: ImagesDependencies): Handler {
  const { log, callers } = dependencies;
  const streams = createEventStreams({
    maximum: maximumStreams,
    busy: 'logs are being read, as many as this function takes at a time',
  });
  return (event, context) => {
    const { buildId, file, path } = readPath(event.path);
    const about = buildId === undefined || !isBuildId(buildId) ? {} : { build_id: buildId };
    return answerCall({ callers, log, event, context, path, about }, async (call) => {
      if (path === 'other') throw new ImageBuilderError('request.not_found', `there is nothing at ${event.path}`);
      if (buildId !== undefined && path === buildPath && event.method === 'DELETE')
        return await remove(dependencies, buildId, call);
      if (event.method !== 'GET') refuseMethod(call, event.method, path === buildPath ? ['GET', 'DELETE'] : ['GET']);
      if (buildId === undefined) return await list(dependencies, event, call);
      if (file !== undefined) return await sendFile(dependencies, buildId, file, call);
      if (path === logPath) return await sendLog(dependencies, streams, event, buildId, call, context.disconnected);
      return await show(dependencies, buildId, call);
    });
  };
}

const buildPath = '/{build_id}';
const logPath = '/{build_id}/log';

function readPath(written: string) {
  const [buildId, below, file, ...more] = written.split('/').filter((part) => part !== '');
  if (buildId === undefined) return { buildId, file: undefined, path: '/' };
  if (below === undefined) return { buildId, file: undefined, path: buildPath };
  if (below === 'log' && file === undefined) return { buildId, file, path: logPath };
  const isFile = below === 'files' && file !== undefined && more.length === 0;
  return { buildId, file, path: isFile ? '/{build_id}/files/{name}' : 'other' };
}

export function pathOf(written: string): string {
  return readPath(written).path;
}

async function list({ stored }: ImagesDependencies, event: FunctionEvent, call: Call): Promise<ImagePage> {
  const { limit, cursor } = parseQuery(ImageListQuery, event.query);
  let after = cursor === undefined ? null : { storedAt: cursor[0], buildId: cursor[1] };
  let found: StoredBuild[] = [];
  const untilMs = performance.now() + pagesTimeoutMs;
  for (let page = 0; page < maximumPages && found.length === 0; page += 1) {
    const { builds, next } = await inTime((signal) => stored.list({ after, limit, signal }));
    found = builds.filter(({ caller }) => maySeeOf(call, caller));
    after = next;
    if (next === null || performance.now() > untilMs) break;
  }
  return {
    images: found.map(report),
    next_cursor: after === null ? null : Cursor.encode([after.storedAt, after.buildId]),
  };
}

async function show(dependencies: ImagesDependencies, id: string, call: Call): Promise<StoredBuildReport> {
  return report(await findStored(dependencies, id, call));
}

/** Throws `build.not_found` where the store has nothing of the build, or its caller may not see it. */
async function findStored({ stored, ledger }: ImagesDependencies, id: string, call: Call): Promise<StoredBuild> {
  const buildId = requireId(id);
  const build = await inTime((signal) => stored.describe(buildId, { signal }));
  if (build === null || !maySeeOf(call, build.caller ?? ownerIn(ledger, buildId))) throw notFound(id);
  call.note({ ticket_id: build.ticketId ?? undefined });
  return build;
}

/** A file beside an image: its bytes where the store is a folder of this machine, else a redirect to it. */
async function sendFile(
  dependencies: ImagesDependencies,
  id: string,
  name: string,
  call: Call,
): Promise<Readable | undefined> {
  const { buildId, artifacts } = await findStored(dependencies, id, call);
  const artifact = artifacts.find((one) => one.name === name);
  if (artifact === undefined) throw new ImageBuilderError('request.not_found', 'the build has no such file');
  const file = await openStoredFile(dependencies.storeDirectory, buildId, artifact);
  if (file === null) {
    const elsewhere = artifact.download_url ?? artifact.location;
    if (!/^https?:/.test(elsewhere)) {
      throw new ImageBuilderError('request.not_found', 'the file is in a folder of another machine');
    }
    call.status(307);
    call.headers({ location: elsewhere, 'cache-control': 'no-store' });
    return undefined;
  }
  call.headers({
    'content-type': artifact.media_type,
    'content-length': String(file.size),
    'content-disposition': 'attachment',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  return file.bytes;
}

/** The log in the store, as text or as server-sent events. */
async function sendLog(
  dependencies: ImagesDependencies,
  streams: EventStreams,
  event: FunctionEvent,
  id: string,
  call: Call,
  signal: AbortSignal,
): Promise<Readable> {
  const follow = followsLog(event);
  const { buildId, artifacts } = await findStored(dependencies, id, call);
  const log = artifacts.find(({ role }) => role === 'log');
  if (log === undefined) throw new ImageBuilderError('request.not_found', 'the store has no log of the build');
  const open = () => openStoredLog(buildId, log, { ...dependencies, signal });
  if (!follow && event.headers.range !== undefined) {
    // Nothing but the whole text says how long it is.
    let size = 0;
    const whole = openIn(streams, await open());
    for await (const chunk of whole) size += (chunk as Buffer).length;
    // Only then its place is free for the part.
    if (!whole.closed) await once(whole, 'close');
    const read = async function* (range: ByteRange) {
      yield* partOf(await open(), range);
    };
    return sendText(event, call, size, true, (range) => streams.open(read(range)));
  }
  const from = follow ? lastEventId(event) : 0;
  const text = await open();
  const state = dependencies.ledger.get(buildId)?.state ?? null;
  const events = () => storedLogEvents(partOf(text, { from, to: Infinity }), { buildId, state }, from);
  const sent = openIn(streams, text, follow ? events() : text);
  call.headers({
    'content-type': follow ? 'text/event-stream' : 'text/plain; charset=utf-8',
    ...{ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' },
    ...(follow ? {} : { 'accept-ranges': 'bytes' }),
  });
  return sent;
}

/** Opens a stream of `text`, or of `content` that is made of it. Closes the text where all places are taken. */
function openIn(streams: EventStreams, text: Readable, content: AsyncIterable<string | Buffer> = text): Readable {
  try {
    return streams.open(content);
  } catch (error) {
    text.destroy();
    throw error;
  }
}

async function remove({ stored, ledger }: ImagesDependencies, id: string, call: Call): Promise<undefined> {
  if (!mayChange(call.caller)) {
    throw new ImageBuilderError('request.forbidden', `${call.caller.name} may see images, and not delete them`);
  }
  const buildId = requireId(id);
  // A build that is not known to have ended may be about to store its image.
  await ledger.ready(readyPatienceMs);
  const build = await inTime((signal) => stored.describe(buildId, { signal }));
  if (!maySeeOf(call, build?.caller ?? ownerIn(ledger, buildId))) throw notFound(id);
  const state = ledger.get(buildId)?.state;
  if (state !== undefined && !isTerminal(state)) {
    throw new ImageBuilderError(
      'build.unfinished',
      `the build ${buildId} is ${state}; its image can be deleted when it has ended: wait for that, or cancel it`,
    );
  }
  // Also where nothing is found: a deletion that was interrupted may have left what no reader sees.
  await inTime((signal) => stored.remove(buildId, { signal }));
  if (build === null) throw notFound(id);
  call.note({ ticket_id: build.ticketId ?? undefined });
  call.status(204);
  return undefined;
}

/** A build whose caller is not known is for those who see the builds of all. */
function maySeeOf({ caller }: Call, owner: string | null): boolean {
  return owner === null ? seesAll(caller) : maySee(caller, owner);
}

/** The caller of a build that an older version has stored, as long as its events are there; else null. */
function ownerIn(ledger: ImagesDependencies['ledger'], buildId: string): string | null {
  return ledger.get(buildId)?.caller ?? null;
}

function report(build: StoredBuild): StoredBuildReport {
  const { buildId, ticketId, series, caller, storedAt, state, image, artifacts } = build;
  return {
    ...{ build_id: buildId, ticket_id: ticketId, series, caller, stored_at: storedAt },
    ...{ state, image, artifacts: [...artifacts] },
  };
}

async function inTime<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
  const reason = new ImageBuilderError(
    'store.failed',
    `the store did not answer within ${storeTimeoutMs / 1000} seconds`,
  );
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(reason), storeTimeoutMs);
  try {
    return await work(late.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** The id as stores have it. Throws `build.not_found` for text that is none. */
function requireId(text: string): string {
  if (!isBuildId(text)) throw notFound(text);
  return text.toLowerCase();
}

function notFound(buildId: string): ImageBuilderError {
  const shown = JSON.stringify(buildId.slice(0, 64));
  return new ImageBuilderError('build.not_found', `the store has nothing of a build ${shown}`);
}
