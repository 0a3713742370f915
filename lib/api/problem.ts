import { z } from 'zod';
import { errorTable, type ImageBuilderError } from '../errors.ts';
import { field } from './field.ts';

/** An error answer after RFC 9457, media type `application/problem+json`. */
export const Problem = z.object({
  type: field(
    z.string(),
    'URN of the error, `urn:imagebuilder:error:` and its code; docs/errors.md lists the codes.',
    'urn:imagebuilder:error:request.invalid',
  ),
  title: field(
    z.string(),
    'The kind of error in one line, the same for every error with this code.',
    'The request has faults',
  ),
  status: field(z.int(), 'HTTP status of the answer.', 400),
  detail: field(z.string(), 'The case at hand, for people.', 'the request has one fault: $.ticket_id is missing'),
  code: field(z.string(), 'Name of the error, for programs.', 'request.invalid'),
  fault: field(
    z.enum(['request', 'upstream', 'service']),
    'The party that has to act: the caller (`request`), a server that Image Builder depends on (`upstream`), or the operator (`service`).',
    'request',
  ),
  retryable: field(z.boolean(), 'True where the same call may succeed later without any change to it.', false),
  faults: field(
    z.array(
      z.object({
        path: field(z.string(), 'JSONPath of the value at fault, or the header.', '$.ticket_id'),
        message: field(z.string(), 'The fault, for people.', 'is missing'),
      }),
    ),
    'Every fault of a request, the first 100.',
    [{ path: '$.ticket_id', message: 'is missing' }],
  ).optional(),
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
