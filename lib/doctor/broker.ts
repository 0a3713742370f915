import type { BrokerCertificates } from '../broker-address.ts';
import { parseBrokerUrls } from '../broker-address.ts';
import { messageOf } from '../errors.ts';
import { createLog } from '../log.ts';
import { type BrokerConnection, closeQuietly, openConnection } from '../queue/connection.ts';
import { decodeJob } from '../queue/job.ts';
import { amqpCode, queues, rights } from '../queue/topology.ts';
import { brokerAdvice } from '../queue/watch-broker.ts';
import { missingRights } from './broker-rights.ts';
import type { Finding } from './finding.ts';
import { countWaiting } from './waiting-builds.ts';

/**
 * Looks at RabbitMQ without changing it: the queues, which a function would declare with its own settings, are not
 * declared here.
 */

/** Longer than a handshake may take: its own error says more. */
const patienceMs = 8_000;
/** The oldest version whose quorum queues have the features that leases need. */
const leastVersion = [3, 10] as const;
const what = 'RabbitMQ';
/** Jobs that were given up which are named. */
const named = 5;

export async function lookAtBroker(
  amqpUrl: string,
  certificates?: BrokerCertificates,
  /** Retention of the events stream. */
  forgetAfterSeconds = Number.MAX_SAFE_INTEGER,
): Promise<Finding> {
  const where = parseBrokerUrls(amqpUrl)
    .map((address) => address.where)
    .join(', ');
  let version = '';
  await using connection = await openConnection({
    amqpUrl,
    ...(certificates && { certificates }),
    name: 'imagebuilder doctor',
    setup: async (model) => {
      version = String(model.connection.serverProperties.version ?? '');
    },
    log: createLog({ write: () => {} }),
  });
  let state: State;
  try {
    state = await lookAtQueues(connection, forgetAfterSeconds);
  } catch (error) {
    const detail = messageOf(error);
    return { what, ok: false, detail, todo: brokerAdvice };
  }
  const found = `${version} at ${where}`;
  if (isTooOld(version)) {
    return { what, ok: false, detail: found, todo: `upgrade RabbitMQ to ${leastVersion.join('.')} or later` };
  }
  const { counts, missing, waiting, buried } = state;
  if (missing.length > 0) {
    const lacking = missing.map((right) => `${right} on ${rights[right]}`).join(', ');
    const todo = `give the user of RabbitMQ these rights (rabbitmqctl set_permissions): ${lacking}, and write on the exchanges of callers`;
    return { what, ok: false, detail: `${found}: the user lacks ${lacking}`, todo };
  }
  const parts = [
    counts.has(queues.builds) ? describeWaiting(waiting) : 'its queues are not there yet',
    ...aside(counts.get(queues.dead), 'that RabbitMQ has dropped: look for policies'),
    ...aside(
      counts.get(queues.buried),
      `given up in ${queues.buried}${buried.length > 0 ? `: ${buried.join(', ')}` : ''}`,
    ),
  ];
  return { what, ok: true, detail: `${found}, ${parts.join(', ')}` };
}

function describeWaiting(waiting: number | null): string {
  if (waiting === null) return 'too many events to say in time how many builds wait';
  return waiting === 1 ? '1 build waits' : `${waiting} builds wait`;
}

interface State {
  /** Messages by queue; queues that are not there are missing. */
  readonly counts: ReadonlyMap<string, number>;
  readonly missing: Awaited<ReturnType<typeof missingRights>>;
  /** Builds that wait for a worker; null where that is not known. */
  readonly waiting: number | null;
  /** Builds whose jobs were given up, some of them. */
  readonly buried: readonly string[];
}

async function lookAtQueues(connection: BrokerConnection, forgetAfterSeconds: number): Promise<State> {
  const counts = new Map<string, number>();
  for (const queue of Object.values(queues)) {
    const channel = await connection.openChannel(patienceMs);
    try {
      counts.set(queue, (await channel.checkQueue(queue)).messageCount);
    } catch (error) {
      if (amqpCode(error) !== 404) throw error;
    } finally {
      await closeQuietly(channel);
    }
  }
  const missing = await missingRights(connection, new Set(counts.keys()), patienceMs);
  const look = missing.length === 0 && (counts.get(queues.buried) ?? 0) > 0;
  const readable = missing.length === 0 && counts.has(queues.events);
  const waiting = readable ? await countWaiting(connection, forgetAfterSeconds) : null;
  return { counts, missing, waiting, buried: look ? await lookAtBuried(connection) : [] };
}

/** The builds of the first jobs that were given up. The queue keeps its messages however often they are looked at. */
async function lookAtBuried(connection: BrokerConnection): Promise<string[]> {
  const channel = await connection.openChannel(patienceMs);
  const builds: string[] = [];
  try {
    for (let left = named; left > 0; left -= 1) {
      const message = await channel.get(queues.buried);
      if (message === false) break;
      const job = decodeJob(message.content);
      builds.push(typeof job === 'string' ? 'a message that is no job' : `build ${job.build_id}`);
    }
  } catch (error) {
    // Without the right to read this one queue, everything works.
    if (amqpCode(error) !== 403) throw error;
  } finally {
    // All of them go back.
    await closeQuietly(channel);
  }
  return builds;
}

function aside(count: number | undefined, meaning: string): string[] {
  return count === undefined || count === 0 ? [] : [`${count} jobs ${meaning}`];
}

/** Whether a version such as `3.9.13` is older than the needed one; false for a version that cannot be parsed. */
export function isTooOld(version: string): boolean {
  const [, major, minor] = (/^([0-9]+)\.([0-9]+)/.exec(version) ?? []).map(Number);
  if (major === undefined || minor === undefined) return false;
  return major < leastVersion[0] || (major === leastVersion[0] && minor < leastVersion[1]);
}
