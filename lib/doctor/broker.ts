import { safeUrl } from '../errors.ts';
import { createLog } from '../log.ts';
import { openConnection } from '../queue/connection.ts';
import { amqpCode, queues } from '../queue/topology.ts';
import type { Finding } from './finding.ts';

/**
 * Looks at RabbitMQ without changing it: the queues, which a function would declare with its own settings, are not
 * declared here.
 */

const patienceMs = 5_000;
/** The oldest version whose quorum queues have the features that leases need. */
const leastVersion = [3, 10] as const;
const what = 'RabbitMQ';

export async function lookAtBroker(amqpUrl: string): Promise<Finding> {
  const where = safeUrl(amqpUrl);
  let version = '';
  await using connection = await openConnection({
    amqpUrl,
    name: 'imagebuilder doctor',
    setup: async (model) => {
      version = String(model.connection.serverProperties.version ?? '');
    },
    log: createLog({ write: () => {} }),
  });
  let jobs: number | null;
  try {
    const channel = await connection.openChannel(patienceMs);
    jobs = await channel.checkQueue(queues.builds).then(
      ({ messageCount }) => messageCount,
      (error: unknown) => {
        if (amqpCode(error) === 404) return null;
        throw error;
      },
    );
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    const todo = 'start RabbitMQ, or set IMAGEBUILDER_AMQP_URL or the secret imagebuilder-amqp-url';
    return { what, ok: false, detail, todo };
  }
  const found = `${version} at ${where}`;
  if (isTooOld(version)) {
    return { what, ok: false, detail: found, todo: `upgrade RabbitMQ to ${leastVersion.join('.')} or later` };
  }
  const waiting = jobs === null ? 'its queues are not there yet' : `${jobs} builds wait`;
  return { what, ok: true, detail: `${found}, ${waiting}` };
}

/** Whether a version such as `3.9.13` is older than the needed one; false for a version that cannot be parsed. */
export function isTooOld(version: string): boolean {
  const [, major, minor] = (/^([0-9]+)\.([0-9]+)/.exec(version) ?? []).map(Number);
  if (major === undefined || minor === undefined) return false;
  return major < leastVersion[0] || (major === leastVersion[0] && minor < leastVersion[1]);
}
