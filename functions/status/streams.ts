import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { createEventStreams } from '#lib/api/event-streams.ts';
import { toProblem } from '#lib/api/problem.ts';
import type { Status } from '#lib/api/status.ts';
import { toImageBuilderError } from '#lib/errors.ts';

/**
 * Streams of the status document as server-sent events. A document is made once a second for all streams that show the
 * same, and sent when something but the time has changed. A slow reader skips to the newest.
 */
export interface Streams {
  /**
   * A stream of the documents that `make` makes; streams with the same key share them. It ends by itself within 25 s,
   * since a call of the function has a time limit: the reader then opens the next one. Throws `worker.busy` where too
   * many streams are open.
   */
  open(key: string, make: () => Promise<StatusDocument>, ends: readonly AbortSignal[]): Readable;
}

export interface StatusDocument {
  readonly status: Status;
  /** Its JSON. */
  readonly bytes: Buffer;
}

interface Channel {
  readers: number;
  /** Of the newest event; 0: there is none yet. */
  version: number;
  event: Buffer;
  /** Resolves at the next look at the document. */
  look: PromiseWithResolvers<void>;
}

export const maximumStreams = 256;
/** Looks without news after which a comment shows that the stream lives. */
const quietLooks = 10;
/** Below the `exec_timeout` of the function in stack.yml, and not the same for all streams, which would all come back at once. */
const lifeMs = { least: 20_000, most: 25_000 };
const heartbeat = Buffer.from(': no news\n\n');

/** `lookAfterMs`: time between two looks at a document. */
export function createStreams({ lookAfterMs = 1_000 } = {}): Streams {
  const channels = new Map<string, Channel>();
  const streams = createEventStreams({
    maximum: maximumStreams,
    busy: 'streams are open, as many as the function keeps open',
  });

  const look = async (channel: Channel, key: string, make: () => Promise<StatusDocument>): Promise<void> => {
    let shown = '';
    while (channel.readers > 0) {
      const { event, content } = await make().then(statusEvent, problemEvent);
      if (content !== shown) {
        shown = content;
        channel.event = event;
        channel.version += 1;
      }
      channel.look.resolve();
      channel.look = Promise.withResolvers();
      await sleep(lookAfterMs);
    }
    channels.delete(key);
  };

  const join = (key: string, make: () => Promise<StatusDocument>): Channel => {
    const known = channels.get(key);
    const channel = known ?? { readers: 0, version: 0, event: heartbeat, look: Promise.withResolvers<void>() };
    channel.readers += 1;
    if (known === undefined) {
      channels.set(key, channel);
      void look(channel, key, make);
    }
    return channel;
  };

  const events = async function* (key: string, make: () => Promise<StatusDocument>, ends: readonly AbortSignal[]) {
    const endsAtMs = performance.now() + lifeMs.least + Math.random() * (lifeMs.most - lifeMs.least);
    const ended = () => performance.now() > endsAtMs || ends.some((signal) => signal.aborted);
    const channel = join(key, make);
    try {
      for (let seen = 0, quiet = 0; !ended(); quiet += 1) {
        if (channel.version > seen) {
          seen = channel.version;
          quiet = 0;
          yield channel.event;
        } else if (quiet >= quietLooks) {
          quiet = 0;
          yield heartbeat;
        }
        if (channel.version <= seen) await channel.look.promise;
      }
    } finally {
      channel.readers -= 1;
    }
  };

  return { open: (key, make, ends) => streams.open(events(key, make, ends)) };
}

interface Made {
  readonly event: Buffer;
  /** Text that is the same as long as nothing but the time has changed. */
  readonly content: string;
}

function statusEvent({ status, bytes }: StatusDocument): Made {
  const content = JSON.stringify(status, (name, value) => (name === 'elapsed_seconds' ? undefined : value));
  return { event: Buffer.concat([Buffer.from('event: status\ndata: '), bytes, Buffer.from('\n\n')]), content };
}

function problemEvent(error: unknown): Made {
  const content = JSON.stringify(toProblem(toImageBuilderError(error)));
  return { event: Buffer.from(`event: problem\ndata: ${content}\n\n`), content };
}
