import { element, fill } from './dom.js';
import { counted } from './text.js';

/** The state of the service: counts of builds, RabbitMQ, and the workers that live. */

/**
 * @import { Status } from '#lib/api/status.ts'
 */

/** @param {HTMLElement} place */
export function createHealth(place) {
  let shown = '';
  return {
    /** @param {Status} status */
    update({ status, version, broker, workers, workers_gone: gone }) {
      const content = { status, version, broker, gone, workers: workers.map(({ last_seen, ...worker }) => worker) };
      const text = JSON.stringify(content);
      if (text === shown) return;
      shown = text;
      fill(place, brokerCard(broker, version), workersCard(workers, gone));
    },
  };
}

/**
 * @param {Status['broker']} broker
 * @param {string} version
 */
function brokerCard(broker, version) {
  const facts = [
    broker.queue_depth === null ? null : `${counted(broker.queue_depth, 'build')} waiting`,
    broker.dropped ? `${broker.dropped} dropped` : null,
    broker.buried ? `${broker.buried} given up` : null,
  ].filter((fact) => fact !== null);
  return element(
    'div',
    { class: 'fact' },
    element('h2', {}, 'RabbitMQ'),
    element(
      'p',
      {},
      mark(broker.reachable, broker.reachable ? 'Reachable' : 'Out of reach'),
      element('span', { class: 'muted' }, facts.join(', ')),
    ),
    broker.message !== undefined && element('p', { class: 'trouble' }, broker.message),
    element('p', { class: 'muted small' }, `Version ${version}`),
  );
}

/**
 * @param {Status['workers']} workers
 * @param {number} gone
 */
function workersCard(workers, gone) {
  return element(
    'div',
    { class: 'fact wide' },
    element('h2', {}, 'Workers'),
    workers.length === 0
      ? element(
          'p',
          {},
          mark(false, 'No worker lives'),
          element('span', { class: 'muted' }, 'Builds wait until one starts.'),
        )
      : element('ul', { class: 'workers' }, ...workers.map(workerItem)),
    gone > 0 && element('p', { class: 'muted small' }, `${gone} no longer there`),
  );
}

/** @param {Status['workers'][number]} worker */
function workerItem({ name, builds, guest, unable }) {
  const work = builds.length === 0 ? 'idle' : counted(builds.length, 'build');
  return element(
    'li',
    {},
    mark(unable === undefined, name),
    element('span', { class: 'muted' }, unable === undefined ? work : 'takes no builds'),
    guest !== undefined && element('span', { class: 'tag', title: guest.reason }, guestText(guest)),
    unable !== undefined && element('span', { class: 'trouble' }, unable),
  );
}

/** @param {NonNullable<Status['workers'][number]['guest']>} guest */
function guestText({ kind, accelerator }) {
  if (accelerator === null) return `${kind} guest`;
  return accelerator === 'kvm' ? 'vm with KVM' : 'vm without KVM';
}

/**
 * @param {boolean} good
 * @param {string} text
 */
function mark(good, text) {
  return element('span', { class: 'mark', 'data-good': String(good) }, text);
}
