import type { BuildView } from './build.ts';

/** The builds that wait for a worker, in the order in which they began to. */
export interface WaitingLine {
  readonly builds: ReadonlyMap<string, BuildView>;
  /** Puts a build, which is not in the line, at its end. */
  add(build: BuildView): void;
  remove(buildId: string): void;
  /** Removes the first builds as long as they have no event since `oldest` (a time). */
  expire(oldest: string): void;
  /** The place of a build, beginning with 1; undefined where it does not wait. */
  placeOf(buildId: string): number | undefined;
}

export function createWaitingLine(): WaitingLine {
  const builds = new Map<string, BuildView>();
  /** Each build has a number, which rises along the line. */
  const numbers = new Map<string, number>();
  /** The numbers of the line, in order. */
  const line: number[] = [];
  let next = 0;

  const indexOf = (number: number): number => {
    let [low, high] = [0, line.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((line[middle] ?? number) < number) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  const remove = (buildId: string): void => {
    const number = numbers.get(buildId);
    if (number === undefined) return;
    line.splice(indexOf(number), 1);
    numbers.delete(buildId);
    builds.delete(buildId);
  };

  return {
    builds,
    add(build) {
      builds.set(build.buildId, build);
      numbers.set(build.buildId, next);
      line.push(next);
      next += 1;
    },
    remove,
    expire(oldest) {
      for (const [buildId, { updatedAt }] of builds) {
        if (updatedAt >= oldest) return;
        remove(buildId);
      }
    },
    placeOf(buildId) {
      const number = numbers.get(buildId);
      return number === undefined ? undefined : indexOf(number) + 1;
    },
  };
}
