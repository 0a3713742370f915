import { UpstreamError } from '../../http/upstream-error.ts';
import type { ServiceType } from './services.ts';
import type { CallOptions, Session } from './session.ts';

/** Null where the catalogue of the cloud has an endpoint of the service, else the reason why none can be used. */
export async function whyNotInCatalogue(
  session: Session,
  service: ServiceType,
  { signal }: CallOptions,
): Promise<string | null> {
  try {
    await session.endpoint(service, { signal });
    return null;
  } catch (error) {
    if (!(error instanceof UpstreamError) || error.transient) throw error;
    return error.message;
  }
}
