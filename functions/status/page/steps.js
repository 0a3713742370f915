import { element } from './dom.js';
import { formatMoment, formatSpan } from './text.js';

/** The steps of a build as a row, and its attempts. */

/** @import { BuildStatus } from '#lib/api/status.ts' */

/** `buildSteps` of lib/api/event.ts, which a browser cannot load. */
export const steps = [
  'fetch',
  'reuse',
  'inspect',
  'open',
  'sources',
  'install',
  'seal',
  'layers',
  'repack',
  'check',
  'upload',
];

/**
 * The steps of the newest attempt. `lapsedMs`: since the status came.
 *
 * @param {BuildStatus} build
 */
export function stepRow(build) {
  const isReused = build.image?.reused !== undefined;
  const times = new Map((build.steps ?? []).map((one) => [String(one.step), one]));
  return element(
    'ol',
    { class: 'steps', 'aria-label': 'Steps' },
    // Images with several layers have `layers`, requests whose image was built before have `reuse`.
    ...steps
      .filter((step) => build.step === step || times.has(step) || !(isReused || ['reuse', 'layers'].includes(step)))
      .map((step) => {
        const time = times.get(step);
        const state = stateOf(build, step, time);
        const span = time?.ended_at ? formatSpan(Date.parse(time.ended_at) - Date.parse(time.started_at)) : '';
        return element(
          'li',
          { 'data-state': state, ...(state === 'active' ? { 'aria-current': 'step' } : {}) },
          element('span', { class: 'step-name' }, step),
          element('span', { class: 'step-time' }, span || (labels[state] ?? '')),
        );
      }),
  );
}

/** @type {Readonly<Record<string, string>>} */
const labels = { done: 'done', active: 'now', failed: 'failed', waiting: '–' };

/**
 * @param {BuildStatus} build
 * @param {string} step
 * @param {{ ended_at: string | null } | undefined} time
 */
function stateOf(build, step, time) {
  if (build.state === 'failed' || build.state === 'cancelled') {
    if (build.error?.step === step) return 'failed';
    return time === undefined ? 'waiting' : 'done';
  }
  if (build.state === 'completed') return time === undefined ? 'waiting' : 'done';
  if (build.state === 'running' && build.step === step) return 'active';
  return time?.ended_at ? 'done' : 'waiting';
}

/** @param {NonNullable<BuildStatus['attempts']>} attempts */
export function attemptTable(attempts) {
  const now = new Date();
  const head = ['Attempt', 'Worker', 'Started', 'Took', 'Ended as'];
  return element(
    'table',
    {},
    element('thead', {}, element('tr', {}, ...head.map((title) => element('th', { scope: 'col' }, title)))),
    element(
      'tbody',
      {},
      ...attempts.map((one) =>
        element(
          'tr',
          {},
          element('td', {}, String(one.attempt)),
          element('td', {}, one.worker ?? '–'),
          element('td', {}, formatMoment(one.started_at, now)),
          element(
            'td',
            {},
            one.ended_at === null ? '–' : formatSpan(Date.parse(one.ended_at) - Date.parse(one.started_at)),
          ),
          element(
            'td',
            {},
            [one.outcome.replace('_', ' '), one.step, one.error_code].filter((part) => part).join(', '),
          ),
        ),
      ),
    ),
  );
}
