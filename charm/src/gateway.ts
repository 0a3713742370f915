import { setTimeout as sleep } from 'node:timers/promises';
import { isActive, lastWords } from './service.ts';

/** Calls of this unit's own service. */

const pollMs = 500;
const callTimeoutMs = 10_000;
/** Patience with a service that answers, and says that it is not ready, as with a RabbitMQ that refuses its user. */
const answeredMs = 20_000;

export const gatewayUrl = (port: number): string => `http://127.0.0.1:${port}`;

/** The state of a service that was started. `reason` is for people. */
export type Readiness = { readonly kind: 'ready' } | { readonly kind: 'unready' | 'ended'; readonly reason: string };

/**
 * Waits until the service answers that it is ready. It listens some seconds after systemd calls it active. Resolves after
 * `patienceMs`, or some time after its first answer, with what it has said last.
 */
export async function waitUntilReady(port: number, patienceMs: number): Promise<Readiness> {
  let end = performance.now() + patienceMs;
  let hasAnswered = false;
  for (;;) {
    const answer = await askHealth(port);
    if (answer !== null && !hasAnswered) {
      hasAnswered = true;
      end = Math.min(end, performance.now() + answeredMs);
    }
    if (answer === null && !isActive())
      return { kind: 'ended', reason: lastWords() ?? 'see journalctl -u imagebuilder' };
    if (answer?.ready) return { kind: 'ready' };
    if (performance.now() > end) return { kind: 'unready', reason: answer?.reason ?? 'it does not answer yet' };
    await sleep(pollMs);
  }
}

async function askHealth(port: number): Promise<{ readonly ready: boolean; readonly reason?: string } | null> {
  try {
    const response = await fetch(`${gatewayUrl(port)}/healthz`, { signal: AbortSignal.timeout(callTimeoutMs) });
    const body = (await response.json()) as { ready?: unknown; reason?: unknown };
    return { ready: body.ready === true, ...(typeof body.reason === 'string' ? { reason: body.reason } : {}) };
  } catch {
    return null;
  }
}

/** The part of the status that says why builds cannot run; null where they can, or nobody knows. */
export async function findTrouble(port: number, token: string | null, worker: string): Promise<string | null> {
  try {
    const response = await fetch(`${gatewayUrl(port)}/api/v1/imagebuilder/status`, {
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(callTimeoutMs),
    });
    if (!response.ok) return null;
    const { broker, workers } = (await response.json()) as {
      broker?: { reachable?: boolean; message?: string };
      workers?: { name: string; unable?: string }[];
    };
    if (broker?.reachable === false) return `RabbitMQ: ${broker.message ?? 'out of reach'}`;
    // A number may follow the name.
    const own = workers?.find(({ name }) => name === worker || name.startsWith(`${worker}-`));
    return own?.unable ?? null;
  } catch {
    return null;
  }
}
