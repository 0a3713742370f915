import { pause, within } from '../async.ts';
import type { Log } from '../log.ts';
import type { Broker } from '../queue/broker.ts';
import { showEveryMs } from '../queue/seen-workers.ts';
import { truncate } from '../width.ts';

/** Whether a worker can build, and how everybody learns of it: in its log, and in the events stream. */
export interface Ability extends AsyncDisposable {
  /** Looks now. False: the worker must take no build. Never throws. */
  look(): Promise<boolean>;
}

/** A reason why no build can run on this worker. */
export interface Hindrance {
  /** In the doctor's words. */
  readonly reason: string;
  /** The same with what to do. */
  readonly advice: string;
}

export interface AbilityOptions {
  /** Name of the worker. */
  readonly name: string;
  readonly broker: Pick<Broker, 'showWorker'>;
  /** Looks at this machine; null: builds can run. Never throws. */
  readonly findHindrance: () => Promise<Hindrance | null>;
  readonly log: Log;
}

/** A worker looks so often, also while it has nothing to do. */
const lookEveryMs = 20_000;
/** A line about the same hindrance comes so often. */
const remindEveryMs = 10 * 60_000;
const retryMs = 1_000;
const farewellMs = 2_000;
/** Callers see the reason in events and answers. */
const longestReason = 500;

/** Shows the worker, looks at once and again and again; disposing shows that the worker ends. */
export function openAbility({ name, broker, findHindrance, log }: AbilityOptions): Ability {
  const stopping = new AbortController();
  let unable: string | null = null;
  let remindAt = 0;
  /** The newest state that is in the stream, and since when. */
  let shown: { readonly unable: string | null; readonly at: number } | null = null;
  let showing: Promise<void> | undefined;

  /** Tries until the stream has the newest state: RabbitMQ may be away. */
  const show = async () => {
    while (!stopping.signal.aborted && isNews()) {
      const at = Date.now();
      const now = unable;
      try {
        await broker.showWorker({ name, unable: now });
        shown = { unable: now, at };
      } catch (error) {
        log.debug('the worker cannot show itself yet', { error });
        await pause(retryMs, stopping.signal);
      }
    }
  };
  const isNews = () => shown === null || shown.unable !== unable || Date.now() - shown.at >= showEveryMs;

  const look = async (): Promise<boolean> => {
    const hindrance = await findHindrance();
    const before = unable;
    unable = hindrance === null ? null : truncate(hindrance.reason, longestReason);
    if (hindrance === null && before !== null) log.info('this worker takes builds again');
    if (hindrance !== null && (before !== unable || Date.now() >= remindAt)) {
      log.error('this worker takes no builds', { reason: hindrance.advice });
      remindAt = Date.now() + remindEveryMs;
    }
    if (isNews()) {
      showing ??= show().finally(() => {
        showing = undefined;
      });
    }
    return unable === null;
  };

  const watch = async () => {
    while (!stopping.signal.aborted) {
      await look();
      await pause(lookEveryMs, stopping.signal);
    }
  };
  const watching = watch();

  return {
    look,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      const farewell = async () => {
        await Promise.all([watching, showing]);
        await broker.showWorker({ name, unable, stopped: true });
      };
      await within(farewell(), farewellMs).catch(() => {});
    },
  };
}
