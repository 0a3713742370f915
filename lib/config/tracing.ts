import { z } from 'zod';
import { wholeNumber, yesNo } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

const endpoint = z.union([
  z.literal(''),
  z
    .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
    .refine((text) => !URL.canParse(text) || (new URL(text).username === '' && new URL(text).password === ''), {
      error: 'must not carry a user name or password',
    }),
]);

/**
 * OpenTelemetry's own variables (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Its
 * library reads more of them by itself, such as those for certificates.
 */
export const tracingSettings = {
  otlpEndpoint: setting(
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    endpoint,
    '',
    'Where spans of builds go, by OTLP over HTTP as JSON, such as `http://collector.example:4318`; `/v1/traces` is added. Empty: nowhere ([docs/monitoring.md](docs/monitoring.md#traces)).',
  ),
  otlpTracesEndpoint: setting(
    'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    endpoint,
    '',
    'The same as a whole URL, to which nothing is added; wins over the former.',
  ),
  otlpHeaders: setting(
    'OTEL_EXPORTER_OTLP_HEADERS',
    z.string(),
    '',
    'Headers of these requests, such as `authorization=Bearer%20secret,x-scope=builds`. Logs hide the values.',
  ),
  otlpTimeoutMs: setting(
    'OTEL_EXPORTER_OTLP_TIMEOUT',
    wholeNumber.refine((ms) => ms > 0, { error: 'must be at least 1' }),
    '10000',
    'Milliseconds for one of these requests, repetitions included.',
  ),
  serviceName: setting(
    'OTEL_SERVICE_NAME',
    z.string(),
    '',
    'Name of the service in spans. Empty: `imagebuilder-` and the name of the function.',
  ),
  resourceAttributes: setting(
    'OTEL_RESOURCE_ATTRIBUTES',
    z.string(),
    '',
    'Attributes of the service in spans, such as `deployment.environment.name=production`.',
  ),
  disabled: setting('OTEL_SDK_DISABLED', yesNo, 'false', 'True: no spans, whatever the variables above say.'),
} as const satisfies Declarations;

/** Spans of builds. */
export interface TracingSettings {
  /** URL that they are sent to; null where they go nowhere. */
  readonly endpoint: string | null;
  readonly timeoutMs: number;
}

/** A setting with a fault is missing. */
export function readTracing(settings: Partial<SettingsOf<typeof tracingSettings>>): TracingSettings {
  const { otlpEndpoint = '', otlpTracesEndpoint = '', disabled = false, otlpTimeoutMs = 0 } = settings;
  const base = otlpEndpoint.endsWith('/') ? otlpEndpoint : `${otlpEndpoint}/`;
  const endpoint = otlpTracesEndpoint !== '' ? otlpTracesEndpoint : otlpEndpoint !== '' ? `${base}v1/traces` : null;
  return { endpoint: disabled ? null : endpoint, timeoutMs: otlpTimeoutMs };
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Every form of the values of headers, also of those for traces alone, that must appear nowhere. */
export function secretsOfTracing(environment: Environment): string[] {
  const names = [tracingSettings.otlpHeaders.variable, 'OTEL_EXPORTER_OTLP_TRACES_HEADERS'];
  const values = names.flatMap((name) =>
    (environment[name] ?? '').split(',').map((pair) => pair.slice(pair.indexOf('=') + 1).trim()),
  );
  return values.flatMap((value) => {
    const plain = decoded(value);
    // `Bearer` and the like are no secrets.
    return [value, plain, plain.slice(plain.lastIndexOf(' ') + 1)].filter((form) => form !== '');
  });
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
