import { blocked, type Hindrance, waiting } from '../hindrance.ts';
import type { JujuState } from '../state.ts';

/**
 * The relations `image-service` with glance and `object-store` with swift-proxy. Their addresses stand in keystone's
 * catalogue; the relations say that they are ready.
 */
export function storeHindrances({ application, options, relations }: JujuState): Hindrance[] {
  const [glance] = relations['image-service'];
  const [swift] = relations['object-store'];
  if (glance === undefined && swift === undefined) return [];
  if (relations['identity-credentials'].length === 0 && !options['openstack-clouds']) {
    return [blocked(`Missing relation identity-credentials: juju integrate ${application} keystone`)];
  }
  const hindrances: Hindrance[] = [];
  if (glance !== undefined && !glance.units.some(({ data }) => /^yes$/i.test(data['glance-api-ready'] ?? ''))) {
    hindrances.push(waiting('Waiting for glance to be ready (relation image-service)'));
  }
  if (swift !== undefined && !swift.units.some(({ data }) => data['swift-url'])) {
    hindrances.push(waiting('Waiting for swift-proxy to be ready (relation object-store)'));
  }
  return hindrances;
}
