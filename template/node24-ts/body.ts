import { ProblemError } from './problem.ts';
import type { BodyFault, BodyLimits } from './read-body.ts';

/** The body of a request, read and parsed. */

/**
 * The body as the handler gets it, by its media type. Throws `request.malformed` where a body declared as JSON is not
 * JSON.
 */
export function parseBody(raw: Buffer, contentType: string | undefined): unknown {
  if (raw.length === 0) return undefined;
  const mediaType = (contentType?.split(';', 1)[0] ?? '').trim().toLowerCase();
  if (mediaType === 'application/json' || mediaType.endsWith('+json')) return parseJson(raw);
  return mediaType.startsWith('text/') ? raw.toString('utf8') : raw;
}

function parseJson(raw: Buffer): unknown {
  try {
    // RFC 8259: JSON is UTF-8 whatever a charset parameter says. A byte order mark is allowed and dropped.
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(raw));
  } catch (error) {
    throw new ProblemError('request.malformed', `the body is not JSON: ${(error as Error).message}`);
  }
}

/** The problem document for a body that was refused. */
export function bodyProblem(fault: BodyFault, { maximumBytes, stallMs, totalMs }: BodyLimits): ProblemError {
  switch (fault) {
    case 'too large':
      return new ProblemError(
        'request.too_large',
        maximumBytes === 0
          ? 'this function takes no body'
          : `the body is larger than ${maximumBytes} bytes, the most that is taken`,
      );
    case 'too slow':
      return new ProblemError(
        'request.timeout',
        `the body did not come within ${totalMs / 1000} s, or nothing of it for ${stallMs / 1000} s`,
      );
    case 'no room':
      return new ProblemError('worker.busy', 'there is no memory for the body now: too many others are being read');
  }
}
