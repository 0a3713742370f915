import { z } from 'zod';
import { BuildEvent } from '../api/event.ts';
import { Background } from './background.ts';
import { Submission } from './submission.ts';

/**
 * A record of the events stream: an event of a build, or one of the few records by which replicas agree on the order of
 * things.
 */
export const StreamRecord = z.discriminatedUnion('kind', [
  /** `submission` stands in every event of a build, because any of them may be the first that a reader finds. */
  z.object({
    kind: z.literal('event'),
    id: z.uuid(),
    event: BuildEvent,
    submission: Submission.optional(),
    background: Background.optional(),
  }),
  /** A caller has asked for the end of a build. */
  z.object({ kind: z.literal('cancel'), id: z.uuid(), build_id: z.uuid(), time: z.iso.datetime() }),
  /** The submission was answered with an error although its job or its event may have arrived: it must not be built. */
  z.object({ kind: z.literal('withdrawn'), id: z.uuid(), build_id: z.uuid() }),
  /**
   * The caller has been notified of the end of a build in this way, or need not be any more; `queued`: of its
   * beginning.
   */
  z.object({
    kind: z.literal('told'),
    id: z.uuid(),
    build_id: z.uuid(),
    way: z.enum(['progress_trigger', 'callback', 'queued']),
  }),
  /** A worker shows that it lives, and why it takes no build, where it cannot. `stopped`: it ends in order. */
  z.object({
    kind: z.literal('worker'),
    id: z.uuid(),
    worker: z.string(),
    time: z.iso.datetime(),
    unable: z.string().nullable(),
    stopped: z.literal(true).optional(),
  }),
  /** A record without content: when its sender reads it, it has read everything before it. */
  z.object({ kind: z.literal('marker'), id: z.uuid() }),
]);
export type StreamRecord = z.infer<typeof StreamRecord>;

export function encodeRecord(record: StreamRecord): Buffer {
  return Buffer.from(JSON.stringify(StreamRecord.parse(record)));
}

/**
 * The record in a message, or the reason why there is none: other versions may write kinds that this one does not know.
 */
export function decodeRecord(content: Buffer): StreamRecord | string {
  let value: unknown;
  try {
    value = JSON.parse(content.toString('utf8'));
  } catch {
    return 'it is not JSON';
  }
  const result = StreamRecord.safeParse(value);
  return result.success ? result.data : z.prettifyError(result.error);
}
