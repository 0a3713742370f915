import { setTimeout as sleep } from 'node:timers/promises';

/** Calls at a steady rate, whether those before have been answered or not. */

export interface AnsweredCalls {
  /** From the moment at which a call was due, so that a late call counts as slow. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** By how much the caller itself sent its calls too late; part of the times above. */
  readonly lateP99Ms: number;
  readonly answered: number;
  readonly due: number;
}

export interface SteadyCallsOptions {
  readonly callsPerSecond: number;
  readonly seconds: number;
  readonly signal: AbortSignal;
}

/** Calls that wait for an answer; further ones that are due count as not answered. */
const maximumUnderWay = 2_000;

/** `call` gets the number of the call, and throws where it is refused. */
export async function callSteadily(
  call: (index: number) => Promise<void>,
  { callsPerSecond, seconds, signal }: SteadyCallsOptions,
): Promise<AnsweredCalls> {
  const due = callsPerSecond * seconds;
  const times: number[] = [];
  const late: number[] = [];
  const underWay = new Set<Promise<void>>();
  const started = performance.now();
  for (let sent = 0; sent < due; ) {
    signal.throwIfAborted();
    const dueNow = Math.min(due, Math.ceil(((performance.now() - started) * callsPerSecond) / 1000));
    for (; sent < dueNow; sent += 1) {
      if (underWay.size >= maximumUnderWay) continue;
      const dueAt = started + (sent * 1000) / callsPerSecond;
      late.push(performance.now() - dueAt);
      const one = call(sent).then(
        () => void times.push(performance.now() - dueAt),
        () => {},
      );
      underWay.add(one);
      void one.then(() => underWay.delete(one));
    }
    await sleep(1);
  }
  await Promise.all(underWay);
  return { ...quantiles(times), lateP99Ms: quantile(late, 0.99), answered: times.length, due };
}

/** Calls one after the other, each as soon as the one before has been answered. */
export async function callInTurn(
  call: (index: number) => Promise<void>,
  { calls, signal }: { readonly calls: number; readonly signal: AbortSignal },
): Promise<AnsweredCalls> {
  const times: number[] = [];
  for (let index = 0; index < calls; index += 1) {
    signal.throwIfAborted();
    const started = performance.now();
    await call(index).then(
      () => void times.push(performance.now() - started),
      () => {},
    );
  }
  return { ...quantiles(times), lateP99Ms: 0, answered: times.length, due: calls };
}

function quantiles(times: readonly number[]): Pick<AnsweredCalls, 'p50Ms' | 'p99Ms'> {
  return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) };
}

/** The quantile of numbers; NaN of none. */
function quantile(numbers: readonly number[], share: number): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length * share)] ?? Number.NaN;
}
