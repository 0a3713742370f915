import { adviceFor } from './advice.js';
import { isEnded } from './builds.js';
import { call } from './calls.js';
import { element, fill, setAttribute, setText } from './dom.js';
import { buildFragment } from './fragment.js';
import { followLog } from './live-log.js';
import { createLog } from './log.js';
import { panel } from './panel.js';
import { imageFacts, requestFacts } from './result.js';
import { elapsedOf, stateText } from './row.js';
import { save } from './save.js';
import { attemptTable, stepRow } from './steps.js';
import { createStored } from './stored.js';
import { formatMoment, formatSeconds, webAddress } from './text.js';

/** The view of one build. */

/** @type {Readonly<Partial<Record<LogState, string>>>} */
const logTexts = {
  away: 'The log cannot be read at the moment; trying again.',
  polling: 'Its lines come every few seconds.',
  elsewhere: 'The whole log is in the store: “Save log” gets it.',
};

/**
 * @import { BuildStatus, Status } from '#lib/api/status.ts'
 * @import { Addresses } from './addresses.js'
 * @import { Known } from './builds.js'
 * @import { LogState } from './live-log.js'
 */

/**
 * @typedef {object} BuildViewOptions
 * @property {Addresses} addresses
 * @property {string} id
 * @property {(error: unknown) => void} onError
 * @property {(news: string) => void} onNews
 */

/**
 * @param {HTMLElement} place
 * @param {BuildViewOptions} options
 */
export function createBuildView(place, { addresses, id, onError, onNews }) {
  const url = `${addresses.builds}/${id}`;
  const title = element('h1', { id: 'build-title', tabindex: '-1' }, 'Build');
  const badge = element('span', { class: 'badge' });
  const cancel = element('button', { type: 'button', class: 'danger', click: () => void askCancel() }, 'Cancel build');
  const retry = element('button', { type: 'button', class: 'primary', click: () => void askRetry() }, 'Retry');
  const about = element('p', { class: 'about' });
  const message = element('p', { class: 'message' });
  const bar = element('progress', { max: '1', 'aria-label': 'Progress' });
  const percent = element('span', { class: 'percent' });
  const time = element('span', { class: 'time' });
  const progress = element('div', { class: 'progress-line' }, bar, percent, time);
  const panels = {
    error: panel('Error', 'error-panel'),
    steps: panel('Steps'),
    image: panel('Image'),
    attempts: panel('Attempts'),
    request: panel('Request'),
  };
  const stored = createStored(`${addresses.images}/${id}/files`, onError);
  const log = createLog(() => void saveLog());
  const logPanel = panel('Log');
  logPanel.show('log', () => [log.node]);
  cancel.hidden = true;
  retry.hidden = true;
  fill(
    place,
    element('p', { class: 'back' }, element('a', { href: '#all' }, '← All builds')),
    element(
      'div',
      { class: 'card build-head' },
      element('div', { class: 'title-line' }, title, badge, element('span', { class: 'spacer' }), cancel, retry),
      about,
      message,
      progress,
    ),
    panels.error.node,
    panels.steps.node,
    element(
      'div',
      { class: 'columns' },
      element('div', {}, logPanel.node, panels.attempts.node),
      element('div', {}, panels.image.node, ...stored.nodes, panels.request.node),
    ),
  );

  /** @type {Known | undefined} */
  let shown;
  /** @type {LogState} */
  let logState = 'live';
  const logFeed = followLog({
    url: `${url}/log`,
    storedUrl: `${addresses.images}/${id}/log`,
    hasEnded: () => shown !== undefined && isEnded(shown.build.state),
    onLines: log.append,
    onRestart: log.clear,
    onState(state) {
      logState = state;
      showLogState();
    },
  });

  /** Of a log that nobody keeps any more, the status may still know the last lines. */
  function showLogState() {
    const over = logState === 'ended' || logState === 'elsewhere';
    const tail = shown?.build.error?.log_tail ?? shown?.build.log_tail ?? [];
    if (over && log.isEmpty()) log.append(tail);
    log.setTrouble(logTexts[logState] ?? '');
    logPanel.node.hidden = over && log.isEmpty();
  }

  async function saveLog() {
    try {
      const { ticket_id: ticket = 'build', artifacts = [] } = shown?.build ?? {};
      const kept = artifacts.find(({ role }) => role === 'log');
      const elsewhere = webAddress(kept?.download_url ?? kept?.location ?? '');
      await save(`${url}/log`, `${String(ticket).replaceAll(/[^\w.-]/g, '_')}-${id.slice(0, 8)}.log`, elsewhere);
    } catch (error) {
      onError(error);
    }
  }

  async function askCancel() {
    if (!window.confirm('Cancel this build? Its work so far is lost.')) return;
    cancel.disabled = true;
    try {
      await call(url, { method: 'DELETE' });
      onNews('The build is being cancelled.');
    } catch (error) {
      cancel.disabled = false;
      onError(error);
    }
  }

  async function askRetry() {
    retry.disabled = true;
    try {
      const accepted = await call(`${url}/retry`, { method: 'POST' });
      onNews('The build was submitted again.');
      location.hash = buildFragment(accepted.build_id);
    } catch (error) {
      onError(error);
    } finally {
      retry.disabled = false;
    }
  }

  function tick() {
    if (shown !== undefined) setText(time, formatSeconds(elapsedOf(shown, performance.now())));
  }

  /** @param {BuildStatus} build */
  function showHead(build) {
    document.title = `${build.ticket_id}: ${build.state} – Image Builder`;
    setText(title, String(build.ticket_id));
    setAttribute(badge, 'data-state', build.state);
    setText(badge, stateText(build));
    const ended = isEnded(build.state);
    cancel.hidden = ended;
    cancel.disabled = build.cancelling;
    setText(cancel, build.cancelling ? 'Cancelling' : 'Cancel build');
    retry.hidden = !ended;
    setText(
      message,
      build.state === 'failed' || build.state === 'completed'
        ? ''
        : [build.step, build.message].filter((part) => part).join(': '),
    );
    bar.value = build.progress;
    setAttribute(bar, 'data-state', build.state);
    setText(percent, `${Math.floor(build.progress * 100)} %`);
    tick();
  }

  /** @param {BuildStatus} build */
  function showAbout(build) {
    const now = new Date();
    const parts = [
      build.series,
      build.worker === null ? undefined : `on ${build.worker}`,
      build.attempt > 1 ? `attempt ${build.attempt}` : undefined,
      `submitted by ${build.caller} at ${formatMoment(build.queued_at, now)}`,
      build.finished_at === null ? undefined : `ended at ${formatMoment(build.finished_at, now)}`,
    ].filter((part) => part !== undefined);
    fill(
      about,
      element('span', {}, parts.join(' · ')),
      element('code', { class: 'id' }, build.build_id),
      build.retry_of !== undefined &&
        element('a', { href: buildFragment(build.retry_of) }, 'retry of an earlier build'),
    );
  }
  let aboutShown = '';

  return {
    tick,
    /** @param {Status} status */
    update({ running, queued, finished }) {
      const build = [...running, ...queued, ...finished].find((one) => one.build_id === id);
      if (build === undefined) return;
      shown = { build, atMs: performance.now() };
      showHead(build);
      const aboutKey = JSON.stringify([build.worker, build.attempt, build.finished_at, build.retry_of]);
      if (aboutKey !== aboutShown) showAbout(build);
      aboutShown = aboutKey;
      const { error, image, attempts, request } = build;
      panels.error.show(error !== undefined && { error, state: build.state }, () => errorParts(build));
      panels.steps.show({ steps: build.steps, step: build.step, state: build.state, at: error?.step }, () => [
        stepRow(build),
      ]);
      panels.image.show(image, () => (image === undefined ? [] : [imageFacts(image)]));
      stored.update(build);
      panels.attempts.show(attempts?.length ? attempts : null, () => [attemptTable(attempts ?? [])]);
      panels.request.show(request ?? build.caller, () => [requestFacts(build)]);
      showLogState();
    },
    close() {
      logFeed.close();
      log.close();
    },
  };
}

/** @param {BuildStatus} build */
function errorParts({ error, state }) {
  if (error === undefined) return [];
  const { party, steps } = adviceFor(error);
  return [
    element('p', { class: 'error-message' }, error.message),
    element(
      'p',
      {},
      element('strong', {}, state === 'queued' ? 'The attempt before ended so; another follows.' : `${party}.`),
      steps === '' ? '' : ` ${steps}`,
    ),
    element(
      'p',
      { class: 'muted small' },
      element('code', {}, error.code),
      error.step === null ? '' : ` in step ${error.step}`,
    ),
  ];
}
