import { readFileSync } from 'node:fs';
import { type Data, relationData, setRelationData } from './hook-tools.ts';
import { onMachine, programPrefix } from './places.ts';
import { cloudRequest } from './relations/keystone.ts';
import { brokerRequest } from './relations/rabbitmq.ts';
import { run } from './run.ts';
import type { Endpoint, JujuState } from './state.ts';
import { readTokenSecret, removeTokenSecret, writeTokenSecret } from './token-secret.ts';
import type { Wanted } from './wanted.ts';

/** The data that this unit sets on its relations. */

/** Asks other applications for users. */
export function publishRequests(state: JujuState): void {
  publish(state, 'amqp', brokerRequest(state));
  const cloud = cloudRequest(state);
  if (cloud !== null) publish(state, 'identity-credentials', cloud);
}

/** Says to callers and to COS where this unit listens; `runs` is false where it does not. */
export function publishAddress(state: JujuState, wanted: Wanted, runs: boolean): void {
  const callers = state.relations['image-builder'];
  const isShared = runs && wanted.token !== null && callers.length > 0;
  const secret = isShared
    ? writeTokenSecret(
        wanted.token ?? '',
        callers.map(({ id }) => id),
      )
    : null;
  publish(state, 'image-builder', {
    hostname: runs ? state.address : '',
    port: runs ? String(wanted.port) : '',
    'base-path': runs ? '/api/v1' : '',
    'token-secret-id': secret ?? '',
  });
  if (!isShared && readTokenSecret() !== null) removeTokenSecret();
  if (state.relations['cos-agent'].length > 0) {
    publish(state, 'cos-agent', { config: runs ? JSON.stringify(monitoring(wanted)) : '' });
  }
}

/** Sets what differs from the data that is there. */
function publish(state: JujuState, endpoint: Endpoint, data: Data): void {
  for (const { id } of state.relations[endpoint]) {
    const before = relationData(id, state.unit);
    const changed = Object.entries(data).filter(([key, value]) => (before[key] ?? '') !== value);
    if (changed.length > 0) setRelationData(id, Object.fromEntries(changed));
  }
}

/**
 * For the agent of COS on this machine (interface `cos_agent`). A dashboard is xz in base64. Where callers need a token and
 * the agent has none, it gets no address: it could only fail there.
 */
function monitoring({ port, metricsToken }: Wanted): unknown {
  const folder = `${programPrefix}/share/doc/imagebuilder/monitoring`;
  const alerts: unknown = JSON.parse(readFileSync(new URL('alerts.json', import.meta.url), 'utf8'));
  const dashboard = run('sh', ['-c', packScript, 'sh', onMachine(`${folder}/dashboard.json`)]);
  const job = {
    job_name: 'imagebuilder',
    metrics_path: '/metrics',
    static_configs: [{ targets: [`localhost:${port}`] }],
    ...(metricsToken ? { authorization: { type: 'Bearer', credentials: metricsToken } } : {}),
  };
  return {
    metrics_alert_rules: alerts,
    log_alert_rules: {},
    dashboards: [dashboard],
    metrics_scrape_jobs: metricsToken === undefined ? [] : [job],
    log_slots: [],
  };
}

const packScript = 'xz --stdout -- "$1" | base64 --wrap=0';
