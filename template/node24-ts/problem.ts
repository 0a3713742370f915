/** The template's own errors, as RFC 9457 problem documents. */

/** Code, status and title are rows of the project's error table (`lib/errors.ts`); a test compares the two. */
export const problems = {
  'request.malformed': { status: 400, title: 'The request body is not JSON', fault: 'request', retryable: false },
  'request.timeout': { status: 408, title: 'The request did not arrive in time', fault: 'request', retryable: true },
  'request.too_large': { status: 413, title: 'The request body is too large', fault: 'request', retryable: false },
  'worker.busy': { status: 429, title: 'The function is busy', fault: 'service', retryable: true },
  internal: { status: 500, title: 'An unexpected error', fault: 'service', retryable: true },
} as const;

export type ProblemCode = keyof typeof problems;

/** Thrown to end a call with one of the template's own errors. `detail` is shown to the caller. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly code: ProblemCode;

  constructor(code: ProblemCode, detail: string) {
    super(detail);
    this.code = code;
  }
}

/** The problem document, in the project's own order and shape. */
export function problemDocument(code: ProblemCode, detail: string): Readonly<Record<string, unknown>> {
  const { status, title, fault, retryable } = problems[code];
  return { type: `urn:imagebuilder:error:${code}`, title, status, detail, code, fault, retryable };
}
