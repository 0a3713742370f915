import { z } from 'zod';
import { parseTraceContext, type TraceHeaders, traceHeadersOf } from '../trace-context.ts';

/**
 * The operation that has submitted a build, in its job and in the background of its events. Left out where another
 * version writes it otherwise, or where it is invalid.
 */
export const KeptTrace = z
  .object({ traceparent: z.string(), tracestate: z.string().optional() })
  .transform((headers): TraceHeaders | undefined => {
    const context = parseTraceContext(headers);
    return context === null ? undefined : traceHeadersOf(context);
  })
  .optional()
  .catch(undefined);
