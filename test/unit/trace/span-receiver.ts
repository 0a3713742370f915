import { json } from 'node:stream/consumers';
import { z } from 'zod';
import { startServer, type TestServer } from '../fetch/with-server.ts';

/** A receiver of spans by OTLP over HTTP, as JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding */
export interface SpanReceiver extends TestServer {
  /** Every span so far. */
  readonly spans: readonly ExportedSpan[];
  /** The attributes of the service that has sent them, once for each request. */
  readonly resources: readonly Readonly<Record<string, unknown>>[];
}

export type ExportedSpan = z.output<typeof Exported>;

const Value = z.union([
  z.object({ stringValue: z.string() }).transform(({ stringValue }) => stringValue),
  z.object({ intValue: z.number() }).transform(({ intValue }) => intValue),
]);
const Attributes = z
  .array(z.object({ key: z.string(), value: Value }))
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, value])));
const Exported = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  traceState: z.string().optional(),
  name: z.string(),
  kind: z.number(),
  startTimeUnixNano: z.string(),
  endTimeUnixNano: z.string(),
  attributes: Attributes,
  status: z.object({ code: z.number(), message: z.string().optional() }),
});
const Resource = z.object({
  resource: z.object({ attributes: Attributes }),
  scopeSpans: z.array(z.object({ spans: z.array(Exported) })),
});
const Export = z.object({ resourceSpans: z.array(Resource) });

export async function startSpanReceiver(): Promise<SpanReceiver> {
  const spans: ExportedSpan[] = [];
  const resources: Readonly<Record<string, unknown>>[] = [];
  const server = await startServer(async (request, response) => {
    for (const { resource, scopeSpans } of Export.parse(await json(request)).resourceSpans) {
      resources.push(resource.attributes);
      spans.push(...scopeSpans.flatMap((scope) => scope.spans));
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  return { ...server, spans, resources };
}
