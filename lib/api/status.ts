import { z } from 'zod';
import { BuildEvent, BuildState, BuildStep, GuestReport } from './event.ts';
import { TicketId } from './request.ts';

/** The answers of `GET /api/v1/imagebuilder/status`. */

/** One build, as of its newest events. */
export const BuildStatus = z.object({
  build_id: z.uuid(),
  ticket_id: TicketId,
  progress_trigger: z.string(),
  /** Name of the caller that submitted it. */
  caller: z.string(),
  state: BuildState,
  step: BuildStep.nullable(),
  message: z.string(),
  current: z.number().nullable(),
  total: z.number().nullable(),
  progress: z.number(),
  attempt: z.int(),
  worker: z.string().nullable(),
  queued_at: z.iso.datetime(),
  started_at: z.iso.datetime().nullable(),
  updated_at: z.iso.datetime(),
  finished_at: z.iso.datetime().nullable(),
  /** From queued_at to finished_at, or to now. */
  elapsed_seconds: z.number(),
  /** True once a cancel was asked for and the build has not ended yet. */
  cancelling: z.boolean(),
  /** The newest lines of the build's log, oldest first; only where one build was asked for. */
  log_tail: z.array(z.string()).optional(),
  image: BuildEvent.shape.image,
  error: BuildEvent.shape.error,
});
export type BuildStatus = z.infer<typeof BuildStatus>;

export const Status = z.object({
  /** `ok`, or `degraded` while the broker is out of reach: the builds shown are then the last ones known. */
  status: z.enum(['ok', 'degraded']),
  version: z.string(),
  broker: z.object({
    reachable: z.boolean(),
    /** Jobs that wait for a worker. */
    queue_depth: z.int().nullable(),
    /** Jobs that RabbitMQ has dropped, for a policy of the operator, and that were not put back yet. */
    dropped: z.int().nullable(),
    /** Jobs that were given up and lie in `imagebuilder.buried`. */
    buried: z.int().nullable(),
    message: z.string().optional(),
  }),
  /** Workers that sent an event within the retention of the events stream, newest first. */
  workers: z.array(
    z.object({
      name: z.string(),
      last_seen: z.iso.datetime(),
      builds: z.array(z.uuid()),
      /** How it opens images; missing before it has opened one. */
      guest: GuestReport.optional(),
    }),
  ),
  running: z.array(BuildStatus),
  queued: z.array(BuildStatus),
  /** Newest first. */
  finished: z.array(BuildStatus),
});
export type Status = z.infer<typeof Status>;

/** Answer to a submission: 202 for a new build, 200 when an unfinished build has the same request already. */
export const Accepted = z.object({
  building: z.literal(true),
  build_id: z.uuid(),
  ticket_id: TicketId,
  status_url: z.string(),
});
export type Accepted = z.infer<typeof Accepted>;
