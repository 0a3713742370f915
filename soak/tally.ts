import { readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildEvent, isTerminal } from '#lib/api/event.ts';
import { hashFile } from '#lib/image/digest.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildView } from '#lib/queue/build.ts';
import type { SubmissionKind } from './plan.ts';
import type { Dealing } from './submit.ts';

/** Records how every build ended, and the faults in that. */
export interface Tally {
  /** Records the events since the last time; resolves with how many accepted builds have not ended. */
  look(): Promise<number>;
  /** Ids of builds whose callers have not been notified of the end. */
  untold(told: readonly BuildEvent[], calledBack: ReadonlySet<string>): string[];
  account(told: readonly BuildEvent[], calledBack: ReadonlySet<string>): Promise<Account>;
}

export interface Account {
  readonly accepted: number;
  readonly built: number;
  readonly cancelled: number;
  /** By error code. */
  readonly failed: ReadonlyMap<string, number>;
  /** Builds that were accepted but never ended, or whose caller was never notified. */
  readonly lost: readonly string[];
  /** Built twice: two images of one build, two builds of one request at once, two ends, a build that was refused. */
  readonly doubled: readonly string[];
  /** Images in the store that no completed build accounts for. */
  readonly leaked: readonly string[];
  /** Builds that failed although their request was correct and they could have been tried again. */
  readonly unexpected: readonly string[];
}

/**
 * The expected error of a submission that cannot be built. Servers that break may make any build fail with a fault of
 * theirs.
 */
const expectedCodes: Partial<Readonly<Record<SubmissionKind, string>>> = {
  'unknown package': 'apt.package',
  'unknown PPA': 'ppa.not_found',
  'failing script': 'apt.install',
};
/** The errors of a build whose workers, or their guests, died as often as is allowed. */
const attemptsLostCodes = ['build.attempts_exhausted', 'guest.failed'];
/** Default of IMAGEBUILDER_MAXIMUM_ATTEMPTS. */
const maximumAttempts = 3;

export function openTally(options: {
  readonly dealings: readonly Dealing[];
  readonly ledger: Broker['ledger'];
  readonly storeDirectory: string;
}): Tally {
  const { dealings, ledger, storeDirectory } = options;
  const ended = new Map<string, BuildView>();
  const doubled: string[] = [];
  const known = () =>
    [...ledger.newestFirst(new Date(), { caller: null })].flatMap(({ buildId }) => ledger.get(buildId) ?? []);
  const accepted = () => dealings.flatMap((dealing) => [...dealing.accepted]);

  /** Checks an image once, and then makes it a hole of its size, to save room; an image stored again would show. */
  const verify = async ({ buildId, event }: BuildView) => {
    const path = fileURLToPath(event.image?.location ?? '');
    const found = await hashFile(path).catch(() => null);
    if (found === null || found.checksums.sha256 !== event.image?.checksums.sha256) {
      doubled.push(`${buildId}: the image in the store is not the one that its caller was notified of`);
    } else {
      await truncate(path, 0);
      await truncate(path, found.sizeBytes);
    }
  };

  return {
    async look() {
      for (const build of known()) {
        if (!isTerminal(build.state) || ended.has(build.buildId)) continue;
        ended.set(build.buildId, build);
        if (build.state === 'completed') await verify(build);
      }
      return accepted().filter((id) => !ended.has(id)).length;
    },

    untold(told, calledBack) {
      const withEnd = new Set(told.filter(({ state }) => isTerminal(state)).map(({ build_id }) => build_id));
      return dealings.flatMap(({ accepted, submission, ticketId }) =>
        [...accepted].flatMap((id) => [
          ...(withEnd.has(id) ? [] : [`${id} (${ticketId}): its caller was not told by the exchange`]),
          ...(submission.callback && !calledBack.has(id)
            ? [`${id} (${ticketId}): its caller was not called back`]
            : []),
        ]),
      );
    },

    async account(told, calledBack) {
      const ids = accepted();
      const ends = ids.flatMap((id) => ended.get(id) ?? []);
      const failed = new Map<string, number>();
      for (const { event } of ends) {
        if (event.state !== 'failed') continue;
        const code = event.error?.code ?? 'unknown';
        failed.set(code, (failed.get(code) ?? 0) + 1);
      }
      const unexpected = dealings.flatMap(({ accepted, submission }) =>
        [...accepted].flatMap((id) => unexpectedFailure(ended.get(id), submission.kind)),
      );
      const all = [...ended.values(), ...known().filter(({ buildId }) => !ended.has(buildId))];
      for (const dealing of dealings) {
        const builds = all.filter(({ ticketId }) => ticketId === dealing.ticketId);
        doubled.push(...overlapping(builds));
        for (const { buildId, attempt } of builds) {
          if (dealing.accepted.has(buildId) || dealing.unanswered || attempt === 0) continue;
          doubled.push(`${buildId} (${dealing.ticketId}): built though it was refused`);
        }
      }
      for (const id of new Set(told.map(({ build_id }) => build_id))) doubled.push(...disorder(id, told));

      const completed = new Set([...ended.values()].filter(({ state }) => state === 'completed').map((b) => b.buildId));
      const leaked: string[] = [];
      for (const name of await foldersWithMore(storeDirectory)) {
        if (!completed.has(name)) leaked.push(`${join(storeDirectory, name)}: an image that nobody was notified of`);
        else if (await isStoredAgain(join(storeDirectory, name))) doubled.push(`${name}: stored again after its end`);
      }
      return {
        accepted: ids.length,
        built: ends.filter(({ state }) => state === 'completed').length,
        cancelled: ends.filter(({ state }) => state === 'cancelled').length,
        failed,
        lost: [
          ...ids.filter((id) => !ended.has(id)).map((id) => `${id}: accepted and never ended`),
          ...this.untold(told, calledBack),
        ],
        doubled,
        leaked,
        unexpected,
      };
    },
  };
}

function unexpectedFailure(build: BuildView | undefined, kind: SubmissionKind): string[] {
  const error = build?.state === 'failed' ? build.event.error : undefined;
  if (build === undefined || error === undefined || error === null) return [];
  const attemptsLost = attemptsLostCodes.includes(error.code) && build.attempt - build.handBacks >= maximumAttempts;
  if (error.fault === 'upstream' || error.code === expectedCodes[kind] || attemptsLost) return [];
  return [`${build.buildId} (${kind}) failed in attempt ${build.attempt} with ${error.code}: ${error.message}`];
}

/** Builds of one request that overlapped: one began before the other had ended. */
function overlapping(builds: readonly BuildView[]): string[] {
  const inOrder = [...builds].sort((one, other) => Date.parse(one.queuedAt) - Date.parse(other.queuedAt));
  return inOrder.flatMap((build, index) => {
    const next = inOrder[index + 1];
    const overlaps =
      next !== undefined && (build.finishedAt === null || Date.parse(next.queuedAt) < Date.parse(build.finishedAt));
    return overlaps ? [`${build.buildId} and ${next.buildId}: builds of one request at the same time`] : [];
  });
}

/** The faults in the events of a build as its caller got them. */
function disorder(buildId: string, told: readonly BuildEvent[]): string[] {
  const events = told.filter(({ build_id }) => build_id === buildId);
  const ends = events.filter(({ state }) => isTerminal(state)).length;
  const rises = events.every(({ sequence }, index) => index === 0 || sequence > (events[index - 1]?.sequence ?? 0));
  return [
    ...(ends > 1 ? [`${buildId}: notified of ${ends} ends`] : []),
    ...(rises ? [] : [`${buildId}: its events came out of order: ${events.map(describe).join(', ')}`]),
  ];
}

function describe({ sequence, attempt, state, worker, time }: BuildEvent): string {
  return `${sequence} (${state}, attempt ${attempt} by ${worker} at ${time})`;
}

/** The names of the folders in the store, without those of failed builds, which have a log only. */
async function foldersWithMore(storeDirectory: string): Promise<string[]> {
  const names: string[] = [];
  for (const name of await readdir(storeDirectory)) {
    // By this file workers try now and then, for a moment, whether they may write.
    if (name.startsWith('.imagebuilder-doctor-')) continue;
    const files = await readdir(join(storeDirectory, name));
    if (!files.includes('log.json') || files.includes('image.json')) names.push(name);
  }
  return names;
}

/** True where an image that was made a hole has data again. */
async function isStoredAgain(directory: string): Promise<boolean> {
  for (const name of await readdir(directory)) {
    if (name.endsWith('.qcow2') && (await stat(join(directory, name))).blocks > 0) return true;
  }
  return false;
}
