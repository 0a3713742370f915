import { isEnded } from './builds.js';
import { element, setAttribute, setHidden, setText } from './dom.js';
import { buildFragment } from './fragment.js';
import { formatMoment, formatSeconds } from './text.js';

/** One build in the list: made once, then changed where something else is to be read. */

/**
 * @import { BuildStatus } from '#lib/api/status.ts'
 * @import { Known } from './builds.js'
 *
 * @typedef {object} Row
 * @property {HTMLLIElement} node
 * @property {(known: Known) => void} update
 * @property {(nowMs: number) => void} tick Shows the time that passes.
 */

/** @returns {Row} */
export function createRow() {
  const ticket = element('span', { class: 'ticket' });
  const series = element('span', { class: 'series' });
  const badge = element('span', { class: 'badge' });
  const message = element('span', { class: 'message' });
  const bar = element('progress', { max: '1', 'aria-label': 'Progress' });
  const percent = element('span', { class: 'percent' });
  const time = element('span', { class: 'time' });
  const when = element('span', { class: 'when' });
  const link = element(
    'a',
    { class: 'row' },
    element('span', { class: 'who' }, ticket, series),
    badge,
    element('span', { class: 'news' }, message, element('span', { class: 'bar' }, bar, percent)),
    element('span', { class: 'times' }, time, when),
  );
  const node = element('li', {}, link);
  /** @type {Known | undefined} */
  let shown;

  /** @param {number} nowMs */
  const tick = (nowMs) => {
    if (shown !== undefined) setText(time, formatSeconds(elapsedOf(shown, nowMs)));
  };

  return {
    node,
    tick,
    update(known) {
      if (shown === known) return;
      shown = known;
      const { build } = known;
      setAttribute(link, 'href', buildFragment(build.build_id));
      setText(ticket, String(build.ticket_id));
      setText(series, build.series ?? '');
      setAttribute(badge, 'data-state', build.state);
      setText(badge, stateText(build));
      setText(message, newsOf(build));
      const running = build.state === 'running';
      setHidden(bar, !running);
      setHidden(percent, !running);
      if (running) {
        setAttribute(bar, 'value', String(build.progress));
        setText(percent, `${Math.floor(build.progress * 100)} %`);
      }
      setText(when, build.finished_at === null ? '' : formatMoment(build.finished_at, new Date()));
      tick(performance.now());
    },
  };
}

/**
 * Seconds of a build; of one that goes on, up to now.
 *
 * @param {Known} known
 * @param {number} nowMs
 */
export function elapsedOf({ build, atMs }, nowMs) {
  return build.elapsed_seconds + (isEnded(build.state) ? 0 : (nowMs - atMs) / 1000);
}

/** @param {BuildStatus} build */
export function stateText(build) {
  if (build.cancelling) return 'cancelling';
  return build.place_in_queue === undefined ? build.state : `queued, ${place(build.place_in_queue)}`;
}

/** @param {number} number */
function place(number) {
  return number === 1 ? 'next' : `place ${number}`;
}

/** @param {BuildStatus} build */
function newsOf(build) {
  if (build.error !== undefined && isEnded(build.state)) return build.error.message;
  if (build.image !== undefined) return build.image.name;
  return build.step === null ? build.message : `${build.step}: ${build.message}`;
}
