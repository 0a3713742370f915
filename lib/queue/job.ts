import { z } from 'zod';
import { BuildRequest, type BuildRequestInput } from '../api/request.ts';
import { HttpUrl } from '../api/url.ts';
import { KeptTrace } from './kept-trace.ts';
import { Submission } from './submission.ts';

/**
 * A job as it lies in `imagebuilder.builds`. The request stays as the caller wrote it, but checked: `parseBuildRequest`
 * gives its parsed form.
 */
export const BuildJob = z.object({
  build_id: z.uuid(),
  request: z.custom<BuildRequestInput>((value) => BuildRequest.safeParse(value).success, {
    error: 'must be a valid build request',
  }),
  /** The server that is notified of the end by a POST, with the call id by which it knows the build. */
  callback: z.object({ url: HttpUrl, call_id: z.string().min(1).max(256) }).nullable(),
  submitted_at: z.iso.datetime(),
  /** Missing in jobs of versions without submissions. */
  submission: Submission.optional(),
  trace: KeptTrace,
});
export type BuildJob = z.infer<typeof BuildJob>;

export function encodeJob(job: BuildJob): Buffer {
  return Buffer.from(JSON.stringify(job));
}

/** The job in a message, or the reason in words why there is none. */
export function decodeJob(content: Buffer): BuildJob | string {
  let value: unknown;
  try {
    value = JSON.parse(content.toString('utf8'));
  } catch {
    return 'it is not JSON';
  }
  const result = BuildJob.safeParse(value);
  return result.success ? result.data : z.prettifyError(result.error);
}
