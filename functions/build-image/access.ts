import type { Call } from '#lib/api/call.ts';
import { mayChange, maySee } from '#lib/callers.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildView } from '#lib/queue/build.ts';

/** The builds that a caller may see and change. */

/** The build, where the caller may know of it. Another caller's build looks the same as one that does not exist. */
export async function find({ ledger }: Broker, buildId: string, { caller, note }: Call): Promise<BuildView> {
  const build = await ledger.find(buildId, (known) => maySee(caller, known.caller));
  if (build === undefined || build.supersededBy !== null) throw notFound(buildId);
  note({ ticket_id: build.ticketId });
  return build;
}

/** Throws `request.forbidden` for callers who may only read. */
export function requireChange({ caller }: Call): void {
  if (mayChange(caller)) return;
  throw new ImageBuilderError('request.forbidden', `${caller.name} may see builds, and neither submit nor cancel them`);
}

export function notFound(buildId: string): ImageBuilderError {
  return new ImageBuilderError('build.not_found', `no build ${JSON.stringify(buildId.slice(0, 64))} is known`);
}
