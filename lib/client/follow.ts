import { isTerminal } from '../api/event.ts';
import type { BuildStatus } from '../api/status.ts';
import { pause } from '../async.ts';
import { type ErrorCode, ImageBuilderError } from '../errors.ts';
import type { Client } from './client.ts';

/** One look at a build: its newest state, or why there is none at the moment. */
export type Update =
  | { readonly kind: 'build'; readonly build: BuildStatus }
  | { readonly kind: 'waiting'; readonly message: string };

export interface FollowOptions {
  /** Milliseconds between two looks. Default 1 second. */
  readonly pollMs?: number;
  /** Longest absence of the gateway, or of a build that was known. Default 2 minutes. */
  readonly patienceMs?: number;
  /** Time that the build may be unknown at first: right after its submission a moment is normal. Default 0. */
  readonly appearsWithinMs?: number;
  /** False where nothing has answered as a gateway yet: there is no restart to wait out then. Default true. */
  readonly gatewaySeen?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Looks at a build until it has ended, and yields its end last. Waits out restarts of the gateway and of its functions.
 * Throws `build.not_found`, the error of the last look when patience is at its end, refusals of the API (a missing
 * token), and the signal's reason.
 */
export async function* followBuild(
  client: Client,
  buildId: string,
  options: FollowOptions = {},
): AsyncGenerator<Update> {
  const { pollMs = 1_000, patienceMs = 120_000, appearsWithinMs = 0, gatewaySeen = true, signal } = options;
  let known = false;
  let lastSeen = performance.now();
  for (;;) {
    signal?.throwIfAborted();
    try {
      const build = await findBuild(client, buildId);
      lastSeen = performance.now();
      known = true;
      yield { kind: 'build', build };
      if (isTerminal(build.state)) return;
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof ImageBuilderError)) throw error;
      const missing = error.code === 'build.not_found';
      if (!missing && !error.retryable) throw error;
      if (!known && !gatewaySeen && noGateway.includes(error.code)) throw error;
      const patience = missing && !known ? appearsWithinMs : patienceMs;
      if (performance.now() - lastSeen >= patience) throw missing ? unknownBuild(buildId) : error;
      yield { kind: 'waiting', message: error.message };
    }
    await pause(pollMs, signal);
  }
}

/** Errors that say that a gateway, or a proxy before one, is not there. */
const noGateway: readonly ErrorCode[] = ['upstream.unreachable', 'upstream.status'];

async function findBuild(client: Client, buildId: string): Promise<BuildStatus> {
  const { running, queued, finished } = await client.status({ buildId });
  const build = [...running, ...queued, ...finished].find((candidate) => candidate.build_id === buildId);
  if (build !== undefined) return build;
  throw unknownBuild(buildId);
}

function unknownBuild(buildId: string): ImageBuilderError {
  return new ImageBuilderError(
    'build.not_found',
    `no build ${buildId} is known; \`imagebuilder status\` lists those that are`,
  );
}
