import { randomBytes } from 'node:crypto';

/**
 * Places in traces, as the headers `traceparent` and `tracestate` carry them (W3C Trace Context, levels 1 and 2:
 * https://www.w3.org/TR/trace-context-2/).
 */
export interface TraceContext {
  /** 32 lower-case hexadecimal digits, not all 0. */
  readonly traceId: string;
  /** The caller's own operation within the trace: 16 lower-case hexadecimal digits, not all 0. */
  readonly spanId: string;
  /** Whether the caller may have recorded the trace. */
  readonly sampled: boolean;
  /** The value of `tracestate`, for the makers of tracing systems; empty where there is none. */
  readonly state: string;
}

/** The headers of a message. */
export interface TraceHeaders {
  readonly traceparent: string;
  readonly tracestate?: string;
}

/** Longest `tracestate` that is carried on: as much as the standard asks for. */
export const maximumStateCharacters = 512;
/** Length of version 00. Later versions may append more, after a dash. */
const parentCharacters = 55;
const maximumMembers = 32;
const maximumKeyCharacters = 256;
const maximumValueCharacters = 256;

const traceParent = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
const stateKey = /^[a-z0-9][a-z0-9_*/@-]*$/;
const stateValue = /^[\x20-\x2b\x2d-\x3c\x3e-\x7e]+$/;

/**
 * The context that a request or message carries; null where `traceparent` is missing or invalid. An invalid `tracestate`
 * is left out, and so is one that is too long.
 */
export function parseTraceContext({
  traceparent,
  tracestate,
}: {
  readonly [name in keyof TraceHeaders]?: string | undefined;
}): TraceContext | null {
  const match = traceParent.exec(traceparent?.slice(0, parentCharacters) ?? '');
  if (match === null || traceparent === undefined) return null;
  const [, version = '', traceId = '', spanId = '', flags = ''] = match;
  if (version === 'ff' || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  const more = traceparent.charAt(parentCharacters);
  if (more !== '' && (version === '00' || more !== '-')) return null;
  const sampled = (Number.parseInt(flags, 16) & 1) === 1;
  return { traceId, spanId, sampled, state: checkedState(tracestate ?? '') };
}

/** The members of a `tracestate`, without blanks around them; empty where one of them is invalid. */
function checkedState(text: string): string {
  if (text.length > maximumStateCharacters) return '';
  const members = text.split(',').flatMap((member) => member.trim() || []);
  const keys = new Set<string>();
  for (const member of members) {
    const equals = member.indexOf('=');
    const key = member.slice(0, Math.max(0, equals));
    const value = member.slice(equals + 1);
    const isValid =
      key.length <= maximumKeyCharacters &&
      value.length <= maximumValueCharacters &&
      stateKey.test(key) &&
      stateValue.test(value);
    if (!isValid || keys.has(key)) return '';
    keys.add(key);
  }
  return members.length > maximumMembers ? '' : members.join(',');
}

/** The headers that carry a context on, in version 00. */
export function traceHeadersOf({ traceId, spanId, sampled, state }: TraceContext): TraceHeaders {
  const traceparent = `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
  return state === '' ? { traceparent } : { traceparent, tracestate: state };
}

/** A new operation within the trace of `parent`; without one, in a new trace. */
export function startOperation(parent: TraceContext | null): TraceContext {
  const trace = parent ?? { traceId: randomHex(16), sampled: true, state: '' };
  return { ...trace, spanId: randomHex(8) };
}

/** The members of log lines, by which they are found beside the spans of a trace. */
export function traceFields(context: TraceContext | null): { readonly trace_id?: string; readonly span_id?: string } {
  return context === null ? {} : { trace_id: context.traceId, span_id: context.spanId };
}

/** Random digits, not all 0, which is no valid id. */
function randomHex(bytes: number): string {
  for (;;) {
    const id = randomBytes(bytes);
    if (id.some((byte) => byte !== 0)) return id.toString('hex');
  }
}
