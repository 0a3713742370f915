import { z } from 'zod';
import { errorTable, type ImageBuilderError } from '../errors.ts';

/** An error answer after RFC 9457, media type `application/problem+json`. */
export const Problem = z.object({
  type: z.string().describe('urn:imagebuilder:error:CODE; the codes stand in docs/errors.md'),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.string(),
  fault: z.enum(['request', 'upstream', 'service']),
  retryable: z.boolean(),
  faults: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});
export type Problem = z.infer<typeof Problem>;

/** The problem document of an error. Its status is `problem.status`. */
export function toProblem(error: ImageBuilderError): Problem {
  return {
    type: `urn:imagebuilder:error:${error.code}`,
    title: errorTable[error.code].title,
    status: error.status,
    detail: error.message,
    code: error.code,
    fault: error.fault,
    retryable: error.retryable,
    ...(error.faults.length === 0 ? {} : { faults: [...error.faults] }),
  };
}
