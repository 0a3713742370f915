import {
  type Attributes,
  type Context,
  createTraceState,
  SpanKind as Kind,
  type Span as LibrarySpan,
  ROOT_CONTEXT,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, type SpanExporter, TracerProvider } from '@opentelemetry/sdk-trace';
import { within } from '../async.ts';
import { safeUrl } from '../errors.ts';
import type { Log } from '../log.ts';
import { plain } from '../text.ts';
import type { TraceContext } from '../trace-context.ts';
import { version } from '../version.ts';
import type { SpanError, SpanKind, Tracer, TracerOptions } from './span.ts';

/** The only file that loads OpenTelemetry's library. */

const defaultFlushMs = 3_000;
const maximumMessageCharacters = 1_000;
/** A shorter secret is a part of too many words. */
const leastSecretCharacters = 4;
const kinds = { server: Kind.SERVER, consumer: Kind.CONSUMER, internal: Kind.INTERNAL } as const satisfies Record<
  SpanKind,
  Kind
>;

/** Sends spans to the endpoint in the background, some seconds after their end. */
export function openExporter({
  endpoint,
  timeoutMs,
  service,
  secrets,
  flushMs = defaultFlushMs,
  log,
}: TracerOptions & { readonly endpoint: string }): Tracer {
  const hidden = secrets.filter(({ length }) => length >= leastSecretCharacters);
  const scrub = (text: string) =>
    plain(hidden.reduce((rest, secret) => rest.replaceAll(secret, '[secret]'), text))
      .slice(0, maximumMessageCharacters)
      .toWellFormed();
  const exporter = new OTLPTraceExporter({
    url: endpoint,
    timeoutMillis: timeoutMs,
    userAgent: `imagebuilder/${version}`,
  });
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': service, 'service.version': version }).merge(
      detectResources({ detectors: [envDetector] }),
    ),
    spanProcessors: [new BatchSpanProcessor({ exporter: notingFailures(exporter, endpoint, log) })],
  });
  const tracer = provider.getTracer('imagebuilder', version);

  const scrubbed = (attributes: Attributes): Attributes =>
    Object.fromEntries(
      Object.entries(attributes).map(([name, value]) => [name, typeof value === 'string' ? scrub(value) : value]),
    );
  const fail = (span: LibrarySpan, { code, message }: SpanError) => {
    span.setAttribute('error.type', code);
    span.setStatus({ code: SpanStatusCode.ERROR, message: `${code}: ${scrub(message)}` });
  };

  return {
    start(name, kind, parent, attributes) {
      const options = { kind: kinds[kind], attributes: scrubbed(attributes) };
      const span = tracer.startSpan(name, options, contextOf(parent));
      const { traceId, spanId, traceFlags } = span.spanContext();
      const sampled = (traceFlags & TraceFlags.SAMPLED) !== 0;
      return {
        context: { traceId, spanId, sampled, state: parent?.state ?? '' },
        part(partName, startedAt, endedAt, error) {
          const part = tracer.startSpan(partName, { startTime: startedAt }, trace.setSpan(ROOT_CONTEXT, span));
          if (error !== null) fail(part, error);
          part.end(endedAt);
        },
        end(error, more = {}) {
          span.setAttributes(scrubbed(more));
          if (error !== null) fail(span, error);
          span.end();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      try {
        await within(provider.shutdown(), flushMs);
      } catch (error) {
        log.warn('the last spans may not have been exported', { error });
      }
    },
  };
}

function contextOf(parent: TraceContext | null): Context {
  if (parent === null) return ROOT_CONTEXT;
  const { traceId, spanId, sampled, state } = parent;
  const traceFlags = sampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
  const traceState = state === '' ? {} : { traceState: createTraceState(state) };
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true, ...traceState });
}

/** The exporter, with one line in the log for each outage of the endpoint. To the library, no export fails. */
function notingFailures(exporter: SpanExporter, endpoint: string, log: Log): SpanExporter {
  let failing = false;
  return {
    export(spans, done) {
      exporter.export(spans, ({ code, error }) => {
        const failed = code !== 0;
        const fields = { endpoint: safeUrl(endpoint), reason: error?.message };
        if (failed && !failing) log.warn('spans are lost: the endpoint does not take them', fields);
        if (!failed && failing) log.info('the endpoint takes spans again', { endpoint: safeUrl(endpoint) });
        failing = failed;
        done({ code: 0 });
      });
    },
    shutdown: () => exporter.shutdown(),
  };
}
