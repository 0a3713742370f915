import { createBuilds } from './builds.js';
import { ApiError, call } from './calls.js';
import { arrange, byId, element, setHidden, setText } from './dom.js';
import { filterFragment, states } from './fragment.js';
import { createHealth } from './health.js';
import { createRow } from './row.js';

/** The view of all builds: the state of the service, filters, and the builds by section. */

/**
 * @import { Status } from '#lib/api/status.ts'
 * @import { Addresses } from './addresses.js'
 * @import { Filter } from './fragment.js'
 * @import { Row } from './row.js'
 */

const pageSize = 100;
/** Builds that are looked at one by one after an overview, at most, and the time in which each is looked at once. */
const lookAtOnce = 4;
const lookAfterMs = 30_000;
/** Typing settles before builds are asked for. */
const typingMs = 300;
const titles = { running: 'Running', queued: 'Queued', finished: 'Finished' };

/**
 * @param {Addresses} addresses
 * @param {(error: unknown) => void} onError
 */
export function createList(addresses, onError) {
  const builds = createBuilds();
  const health = createHealth(byId('health', HTMLElement));
  /** @type {Map<string, Row>} */
  const rows = new Map();
  const sections = Object.entries(titles).map(([name, title]) =>
    createSection(/** @type {keyof typeof titles} */ (name), title),
  );
  byId('sections', HTMLElement).append(...sections.map(({ node }) => node));
  const more = byId('more', HTMLButtonElement);
  const empty = byId('empty', HTMLElement);
  const ticket = byId('filter-ticket', HTMLInputElement);
  const series = byId('filter-series', HTMLInputElement);
  /** @type {Filter} */
  let filter = { state: '', ticket: '', series: '' };
  /** Cursor of the next page; undefined: none was read yet; null: there are no more. @type {string | null | undefined} */
  let cursor;
  let reading = 0;
  let looking = false;
  /** @type {Status['counts'] | undefined} */
  let counts;

  const chips = ['', ...states].map((state) => {
    const number = element('span', { class: 'number' });
    const button = element(
      'button',
      { type: 'button', class: 'chip', 'data-state': state, click: () => go({ ...filter, state }) },
      element('span', {}, state === '' ? 'all' : state),
      number,
    );
    return { state, button, number };
  });
  byId('state-chips', HTMLElement).append(...chips.map(({ button }) => button));
  byId('filters', HTMLFormElement).addEventListener('submit', (event) => event.preventDefault());
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  for (const input of [ticket, series]) {
    input.addEventListener('input', () => {
      clearTimeout(typing);
      typing = setTimeout(
        () => go({ ...filter, ticket: ticket.value.trim(), series: series.value.trim() }, true),
        typingMs,
      );
    });
  }
  more.addEventListener('click', () => void readPage());

  /**
   * @param {Filter} next
   * @param {boolean} [replacing] Typing makes no entries in the browser's history.
   */
  function go(next, replacing = false) {
    const fragment = filterFragment(next);
    if (replacing) history.replaceState(null, '', fragment);
    else history.pushState(null, '', fragment);
    setFilter(next);
  }

  /** @param {Filter} next */
  function setFilter(next) {
    const changed = JSON.stringify(next) !== JSON.stringify(filter);
    filter = next;
    if (ticket.value.trim() !== next.ticket) ticket.value = next.ticket;
    if (series.value.trim() !== next.series) series.value = next.series;
    for (const { state, button } of chips) button.setAttribute('aria-pressed', String(state === next.state));
    if (changed) cursor = undefined;
    if (cursor === undefined) void readPage();
    draw();
  }

  /** Reads the next page of builds that match, the newest first. */
  async function readPage() {
    if (cursor === null) return;
    reading += 1;
    const mine = reading;
    const query = new URLSearchParams({
      limit: String(pageSize),
      ...(cursor === undefined ? {} : { cursor }),
      ...(filter.state === '' ? {} : { state: filter.state }),
      ...(filter.ticket === '' ? {} : { ticket_id: filter.ticket }),
      ...(/^[a-z][a-z0-9-]{1,31}$/.test(filter.series) ? { series: filter.series } : {}),
    });
    try {
      const page = await call(`${addresses.builds}/?${query}`);
      builds.takePage(page.builds, performance.now());
      if (mine === reading) cursor = page.next_cursor;
      draw();
    } catch (error) {
      if (mine === reading) onError(error);
    }
  }

  /** Looks at builds that were going on, and that the overview does not show. */
  async function lookAgain() {
    if (looking) return;
    looking = true;
    for (const id of builds.unsure(performance.now() - lookAfterMs).slice(0, lookAtOnce)) {
      try {
        builds.takePage([await call(`${addresses.builds}/${id}`)], performance.now());
      } catch (error) {
        if (!(error instanceof ApiError && error.problem.status === 404)) break;
        builds.drop(id);
      }
    }
    looking = false;
    draw();
  }

  function draw() {
    const nowMs = performance.now();
    const shown = builds.sections(filter);
    const seen = new Set();
    for (const section of sections) {
      const known = shown[section.name];
      const nodes = known.map((one) => {
        const id = one.build.build_id;
        const row = rows.get(id) ?? createRow();
        rows.set(id, row);
        seen.add(id);
        row.update(one);
        row.tick(nowMs);
        return row.node;
      });
      section.show(nodes, totalOf(section.name, known.length));
    }
    for (const id of rows.keys()) if (!seen.has(id)) rows.delete(id);
    for (const { state, number } of chips) setText(number, counts === undefined ? '' : String(countOf(counts, state)));
    setHidden(empty, seen.size > 0 || counts === undefined);
    setText(empty, isAny(filter) ? 'No builds yet. “New build” submits one.' : 'No build matches the filter.');
    setHidden(more, typeof cursor !== 'string');
    const options = builds.series();
    const list = byId('known-series', HTMLDataListElement);
    if (list.children.length !== options.length)
      list.replaceChildren(...options.map((value) => element('option', { value })));
  }

  /**
   * @param {keyof typeof titles} name
   * @param {number} shown
   */
  function totalOf(name, shown) {
    if (counts === undefined || !isAny({ ...filter, state: '' })) return shown;
    if (filter.state !== '')
      return Math.max(shown, sectionOf(filter.state) === name ? countOf(counts, filter.state) : 0);
    const ended = counts.completed + counts.failed + counts.cancelled;
    return Math.max(shown, { running: counts.running, queued: counts.queued, finished: ended }[name]);
  }

  return {
    setFilter,
    /** @param {Status} status */
    update(status) {
      counts = status.counts;
      builds.takeStatus(status, performance.now());
      health.update(status);
      draw();
      if (builds.unsure(performance.now() - lookAfterMs).length > 0) void lookAgain();
    },
    tick() {
      const nowMs = performance.now();
      for (const row of rows.values()) row.tick(nowMs);
    },
    /** Forgets all builds, for another caller. */
    clear() {
      builds.clear();
      counts = undefined;
      cursor = undefined;
      draw();
    },
  };
}

/**
 * @param {keyof typeof titles} name
 * @param {string} title
 */
function createSection(name, title) {
  const number = element('span', { class: 'number' });
  const list = element('ul', { class: 'builds' });
  const heading = element('h2', { id: `title-${name}` }, title, number);
  const node = element('section', { class: 'builds-section', 'aria-labelledby': `title-${name}` }, heading, list);
  return {
    name,
    node,
    /**
     * @param {readonly HTMLElement[]} nodes
     * @param {number} total
     */
    show(nodes, total) {
      setHidden(node, nodes.length === 0);
      setText(number, total > nodes.length ? `${nodes.length} of ${total}` : String(nodes.length));
      arrange(list, nodes);
    },
  };
}

/**
 * @param {Status['counts']} counts
 * @param {string} state
 */
function countOf(counts, state) {
  if (state === '') return Object.values(counts).reduce((sum, count) => sum + count, 0);
  return counts[/** @type {keyof Status['counts']} */ (state)] ?? 0;
}

/** @param {string} state */
function sectionOf(state) {
  return state === 'running' || state === 'queued' ? state : 'finished';
}

/** @param {Filter} filter */
function isAny({ state, ticket, series }) {
  return state === '' && ticket === '' && series === '';
}
