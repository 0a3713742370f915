import { safeUrl } from '../errors.ts';
import { startOperation } from '../trace-context.ts';
import type { Tracer, TracerOptions } from './span.ts';

/** Gives operations their ids, and records nothing. */
export const silentTracer: Tracer = {
  start: (_name, _kind, parent) => ({ context: startOperation(parent), part() {}, end() {} }),
  async [Symbol.asyncDispose]() {},
};

/** The tracer that the settings name. OpenTelemetry's library is loaded only where spans go somewhere. */
export async function openTracer(options: TracerOptions): Promise<Tracer> {
  const { endpoint, log } = options;
  if (endpoint === null) return silentTracer;
  try {
    const { openExporter } = await import('./exporter.ts');
    log.info('spans of builds are exported', { endpoint: safeUrl(endpoint) });
    return openExporter({ ...options, endpoint });
  } catch (error) {
    log.error('spans of builds cannot be exported', { error });
    return silentTracer;
  }
}
