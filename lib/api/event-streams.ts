import { Readable } from 'node:stream';
import { ImageBuilderError } from '../errors.ts';

/** The streams of server-sent events that a function has open, a bounded number at a time. */
export interface EventStreams {
  /**
   * These events as a stream, which has a place until it closes. Throws `worker.busy` where all places are taken. A
   * reader who takes nothing although something is there is cut off after `idleMs`, at the latest after twice that.
   */
  open(events: AsyncIterable<string | Buffer>): Readable;
}

export interface EventStreamsOptions {
  readonly maximum: number;
  /** The end of "256 …", for the error. */
  readonly busy: string;
  readonly idleMs?: number;
}

export function createEventStreams({ maximum, busy, idleMs = 60_000 }: EventStreamsOptions): EventStreams {
  let open = 0;
  return {
    open(events) {
      if (open >= maximum) throw new ImageBuilderError('worker.busy', `${open} ${busy}`, { retryAfterSeconds: 5 });
      open += 1;
      return cutWhenIdle(events, idleMs).once('close', () => {
        open -= 1;
      });
    },
  };
}

function cutWhenIdle(events: AsyncIterable<string | Buffer>, idleMs: number): Readable {
  let taken = 0;
  let takenBefore = -1;
  const counted = async function* () {
    for await (const event of events) {
      yield event;
      taken += 1;
    }
  };
  // No event is asked for before the one before it has gone: a slow reader of documents gets the newest.
  const source = Readable.from(counted(), { highWaterMark: 0 });
  const timer = setInterval(() => {
    if (source.readableLength > 0 && taken === takenBefore) source.destroy();
    takenBefore = taken;
  }, idleMs).unref();
  return source.once('close', () => clearInterval(timer));
}
