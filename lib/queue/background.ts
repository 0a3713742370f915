import { z } from 'zod';
import { AttemptReport } from '../api/attempt.ts';
import { KeptRequest } from '../api/kept-request.ts';
import { KeptTrace } from './kept-trace.ts';

/**
 * Facts of a build that its events do not carry. They stand in the first record of a build, in that of each claim and in
 * that of its end. Other versions may write them otherwise: they are left out then, and the record counts all the same.
 */
export const Background = z.object({
  request: KeptRequest.optional().catch(undefined),
  trace: KeptTrace,
  /** With the end of a build: the attempts before its last. */
  attempts: z.array(AttemptReport).optional().catch(undefined),
});
export type Background = z.infer<typeof Background>;
