import { z } from 'zod';
import type { Caller } from '#lib/callers.ts';
import { ImageBuilderError, type RequestFault } from '#lib/errors.ts';
import type { Ledger } from '#lib/queue/ledger.ts';

/**
 * Holds callers to their limits. Counts the builds in the events stream and the submissions of this process that are
 * not there yet. So one replica is exact. Where several replicas get submissions within the milliseconds that a record
 * needs from one to the other, each may let through as many as the limit still allows.
 */
export interface Admission {
  /**
   * Takes a place for a build; disposing it gives the place up, unless the build is in the stream by then. Throws
   * `caller.limit`.
   */
  admit(caller: Caller, buildId: string, now: Date): Disposable;
}

/** Builds end within minutes; the end of the next one cannot be foreseen. */
const unfinishedRetrySeconds = 30;
const hourMs = 3_600_000;

export function createAdmission(ledger: Pick<Ledger, 'get' | 'usage'>): Admission {
  /** Name of the caller, by build. */
  const underWay = new Map<string, string>();
  return {
    admit({ name, limits }, buildId, now) {
      const usage = ledger.usage(name, now);
      const own = [...underWay].filter(([id, caller]) => caller === name && ledger.get(id) === undefined).length;
      const { unfinished_builds = Number.POSITIVE_INFINITY, builds_an_hour = Number.POSITIVE_INFINITY } = limits;
      if (usage.unfinished + own >= unfinished_builds) {
        throw new ImageBuilderError(
          'caller.limit',
          `${name} may have ${unfinished_builds} builds queued and running at a time, and has as many`,
          { retryAfterSeconds: unfinishedRetrySeconds },
        );
      }
      if (usage.submittedAtMs.length + own >= builds_an_hour) {
        // A place is free at the end of its hour.
        const oldest = usage.submittedAtMs[usage.submittedAtMs.length + own - builds_an_hour] ?? now.getTime();
        throw new ImageBuilderError(
          'caller.limit',
          `${name} may submit ${builds_an_hour} builds an hour, and has submitted as many`,
          { retryAfterSeconds: Math.max(1, Math.ceil((oldest + hourMs - now.getTime()) / 1000)) },
        );
      }
      underWay.set(buildId, name);
      return { [Symbol.dispose]: () => void underWay.delete(buildId) };
    },
  };
}

const WithPackages = z.looseObject({ package_list: z.array(z.unknown()) });

/**
 * The fault of a limit that waiting cannot help with. It is a fault of the request like any other, and reported along
 * with the others.
 */
export function packageFaults({ name, limits }: Caller, body: unknown): RequestFault[] {
  const read = WithPackages.safeParse(body);
  if (!read.success || limits.packages === undefined || read.data.package_list.length <= limits.packages) return [];
  return [{ path: '$.package_list', message: `must hold at most ${limits.packages} packages for ${name}` }];
}
