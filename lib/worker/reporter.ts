import type { ArtifactReport } from '../api/artifact-report.ts';
import type { BuildEvent, BuildState, BuildStep, GuestReport } from '../api/event.ts';
import type { ImageBuilderError } from '../errors.ts';
import type { StepPlan } from '../kinds/kind.ts';
import { overallProgress } from '../pipeline/progress.ts';
import type { BuildReporter } from '../pipeline/reporter.ts';
import type { BuildResult } from '../pipeline/result.ts';
import {
  boundGuest,
  boundImage,
  boundKeptLine,
  boundLine,
  boundLog,
  boundMessage,
  eventBytes,
  linesLeftOut,
  toErrorReport,
} from './event-limits.ts';
import { createEventShare, defaultShare, type EventShareOptions } from './event-share.ts';
import { createStepClock } from './step-times.ts';

/** Reports one attempt at a build: turns steps, progress and log lines into numbered events, at a limited rate. */
export interface Reporter extends BuildReporter, AsyncDisposable {
  readonly step: BuildStep | null;
  /** The newest message of a step: `Configuring libfoo (all)`. */
  readonly doing: string;
  /** The newest log lines, oldest first. */
  logTail(count: number): string[];
  /**
   * Sends the terminal event, after everything before it; no event follows. `counted` is false when the build belonged
   * to another worker by then: this end does not count. `log` is the whole log in the store.
   */
  end(outcome: Outcome, log?: ArtifactReport): Promise<{ readonly event: BuildEvent; readonly counted: boolean }>;
  /**
   * Sends that the worker hands the build back, and why its attempt failed, where it did. No event follows. False when
   * the event could not be sent, or the build belonged to another worker by then.
   */
  handBack(message: string, error?: ImageBuilderError): Promise<boolean>;
}

export type Outcome =
  | ({ readonly state: 'completed' } & BuildResult)
  | { readonly state: 'failed' | 'cancelled'; readonly error: ImageBuilderError };

export interface ReporterOptions {
  readonly identity: Pick<BuildEvent, 'build_id' | 'ticket_id' | 'progress_trigger' | 'attempt'> & {
    readonly worker: string;
  };
  /** The steps of the build's kind of image. */
  readonly steps: readonly StepPlan[];
  /** The number of the first event; higher than every one before. */
  readonly firstSequence: number;
  /**
   * Sends an event and resolves, once RabbitMQ has it safe, with whether it counted. Must not reject for `running`
   * events: it retries and logs itself.
   */
  readonly publish: (event: BuildEvent) => Promise<boolean>;
  /** Receives each line of the log, and the message of each step that begins. */
  readonly onLine?: (line: string, step: BuildStep | null) => void;
  readonly heartbeatMs: number;
  /** Least time between two events that report only progress. */
  readonly progressIntervalMs?: number;
  readonly share?: EventShareOptions;
}

const maximumLogLines = 500;
/** Factor by which progress is sent more rarely once half of the attempt's share of the stream is used up. */
const slowdown = 5;
/** Log lines are sent while this much of the share is left: more than an event with log lines takes. */
const bytesForLog = 10 * 1024;
/** Approximate size of an event without log lines. */
const bytesForProgress = 1024;

/**
 * Starts reporting; the heartbeat runs until the end, the hand-back or disposal. While an event is on its way, all news
 * is gathered into the next one, so that an absent broker costs no memory and causes no flood later.
 */
export function startReporter(options: ReporterOptions): Reporter {
  const { identity, steps, publish, heartbeatMs, progressIntervalMs = 1000 } = options;
  const share = createEventShare(options.share ?? defaultShare);
  const clock = createStepClock();
  let sequence = options.firstSequence;
  let doing = 'nothing yet';
  let now: Pick<BuildEvent, 'step' | 'message' | 'current' | 'total' | 'progress'> = {
    step: null,
    message: 'started',
    current: null,
    total: null,
    progress: 0,
  };
  const recent: string[] = [];
  let unsent: string[] = [];
  /** Number of lines before those in `unsent` that will never be sent. */
  let leftOut = 0;
  let unsentGuest: GuestReport | undefined;
  let lastSentAt = Date.now();
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> | undefined;
  let sendAgain = false;
  let stopped = false;

  function compose(state: BuildState, terminal: Partial<BuildEvent> = {}): BuildEvent {
    const log = takeLog(state);
    const guest = unsentGuest;
    unsentGuest = undefined;
    lastSentAt = Date.now();
    const time = new Date();
    if (state !== 'running') clock.end(time);
    const steps = clock.news();
    const event = {
      ...identity,
      sequence: sequence++,
      time: time.toISOString(),
      state,
      ...now,
      message: boundMessage(now.message),
      ...(log.length === 0 ? {} : { log }),
      ...(guest === undefined ? {} : { guest }),
      ...(steps === undefined ? {} : { steps }),
      ...terminal,
    };
    share.spend(eventBytes(event));
    return event;
  }

  /** The newest lines, or only their number where a running build has used up its share of the stream. */
  function takeLog(state: BuildState): string[] {
    const lean = state === 'running' && share.waitMs(bytesForLog) > 0;
    const count = leftOut + unsent.length;
    const log = !lean ? boundLog(unsent, leftOut) : count === 0 ? [] : [linesLeftOut(count)];
    unsent = [];
    leftOut = 0;
    return log;
  }

  function sendNow(): void {
    clearTimeout(timer);
    timer = undefined;
    if (stopped) return;
    if (sending !== undefined) {
      sendAgain = true;
      return;
    }
    sending = publish(compose('running')).then(() => {
      sending = undefined;
      if (!sendAgain) return;
      sendAgain = false;
      sendNow();
    });
  }

  function sendSoon(): void {
    if (stopped || timer !== undefined) return;
    const intervalMs = share.low ? slowdown * progressIntervalMs : progressIntervalMs;
    const restMs = lastSentAt + intervalMs - Date.now();
    timer = setTimeout(sendNow, Math.max(0, restMs, share.waitMs(bytesForProgress)));
    timer.unref();
  }

  const heartbeat = setInterval(() => {
    if (Date.now() - lastSentAt >= heartbeatMs * 0.8) sendNow();
  }, heartbeatMs / 5).unref();

  async function stop(): Promise<void> {
    stopped = true;
    clearTimeout(timer);
    clearInterval(heartbeat);
    await sending;
  }

  function record(line: string): void {
    options.onLine?.(boundKeptLine(line), now.step);
  }

  function log(line: string): void {
    record(line);
    const bounded = boundLine(line);
    recent.push(bounded);
    unsent.push(bounded);
    if (recent.length > maximumLogLines) recent.shift();
    if (unsent.length > maximumLogLines) {
      unsent.shift();
      leftOut += 1;
    }
    sendSoon();
  }

  return {
    get step() {
      return now.step;
    },
    get doing() {
      return doing;
    },
    begin(step, message) {
      const progress = Math.max(now.progress, overallProgress(steps, step, 0));
      now = { step, message, current: null, total: null, progress };
      doing = message;
      clock.begin(step, new Date());
      record(message);
      sendNow();
    },
    progress(current, total, message) {
      const fraction = total === null || total === 0 ? 0 : current / total;
      const progress =
        now.step === null ? now.progress : Math.max(now.progress, overallProgress(steps, now.step, fraction));
      now = { ...now, message: message ?? now.message, current, total, progress };
      doing = message ?? doing;
      sendSoon();
    },
    notice(message) {
      now = { ...now, message };
      log(message);
    },
    log,
    guest(report) {
      unsentGuest = boundGuest(report);
      log(`images are opened by the ${report.kind} guest: ${report.reason}`);
    },
    logTail: (count) => recent.slice(-count),
    async end(outcome, wholeLog) {
      await stop();
      const artifacts = [
        ...(outcome.state === 'completed' ? outcome.artifacts : []),
        ...(wholeLog === undefined ? [] : [wholeLog]),
      ];
      const event =
        outcome.state === 'completed'
          ? compose('completed', {
              step: null,
              message: boundMessage(`the image is at ${outcome.image.location}`),
              current: null,
              total: null,
              progress: 1,
              image: boundImage(outcome.image, artifacts),
              artifacts,
            })
          : compose(outcome.state, {
              message: boundMessage(outcome.error.message),
              error: toErrorReport(outcome.error, now.step, recent),
              ...(artifacts.length === 0 ? {} : { artifacts }),
            });
      return { event, counted: await publish(event) };
    },
    async handBack(message, error) {
      await stop();
      now = { ...now, message };
      return await publish(
        compose('queued', error === undefined ? {} : { error: toErrorReport(error, now.step, recent) }),
      );
    },
    [Symbol.asyncDispose]: stop,
  };
}
