/** The builds that the page knows: those of the status document, and of the pages of older builds. */

/**
 * @import { BuildStatus, Status } from '#lib/api/status.ts'
 * @import { Filter } from './fragment.js'
 *
 * @typedef {object} Known
 * @property {BuildStatus} build
 * @property {number} atMs When it came, by performance.now().
 */

const ended = new Set(['completed', 'failed', 'cancelled']);

/** @param {string} state */
export function isEnded(state) {
  return ended.has(state);
}

export function createBuilds() {
  /** @type {Map<string, Known>} */
  const known = new Map();
  /** Builds of the newest overview that have not ended. @type {Set<string>} */
  let unfinished = new Set();

  /**
   * @param {BuildStatus} build
   * @param {number} nowMs
   */
  const put = (build, nowMs) => {
    const before = known.get(build.build_id)?.build;
    // A page of older builds may be older than what the stream has shown since.
    if (before !== undefined && before.updated_at > build.updated_at) return;
    known.set(build.build_id, { build, atMs: nowMs });
  };

  return {
    /**
     * @param {Status} status
     * @param {number} nowMs
     */
    takeStatus({ running, queued, finished }, nowMs) {
      unfinished = new Set([...running, ...queued].map((build) => build.build_id));
      for (const build of [...running, ...queued, ...finished]) put(build, nowMs);
    },
    /**
     * @param {readonly BuildStatus[]} builds
     * @param {number} nowMs
     */
    takePage(builds, nowMs) {
      for (const build of builds) put(build, nowMs);
    },
    /** Forgets a build, such as one that the service does not know any more. @param {string} id */
    drop: (id) => known.delete(id),
    clear: () => known.clear(),
    /**
     * Builds that go on, as far as is known, and that the overview does not show: they have to be looked at. Those that
     * were last seen before `beforeMs`, the longest ago first.
     *
     * @param {number} beforeMs
     */
    unsure: (beforeMs) =>
      [...known.values()]
        .filter(({ build, atMs }) => atMs < beforeMs && !isEnded(build.state) && !unfinished.has(build.build_id))
        .sort((a, b) => a.atMs - b.atMs)
        .map(({ build }) => build.build_id),
    /** The series that are known, in alphabetical order. */
    series: () => [...new Set([...known.values()].flatMap(({ build }) => build.series ?? []))].sort(),
    /**
     * Those that match, by section, in the order in which they are shown.
     *
     * @param {Filter} filter
     */
    sections(filter) {
      const all = [...known.values()].filter(({ build }) => matches(build, filter));
      const running = all.filter(({ build }) => build.state === 'running');
      const queued = all.filter(({ build }) => build.state === 'queued');
      const finished = all.filter(({ build }) => isEnded(build.state));
      return {
        running: running.sort((a, b) => compare(b.build.queued_at, a.build.queued_at)),
        queued: queued.sort((a, b) => placeOf(a) - placeOf(b) || compare(a.build.queued_at, b.build.queued_at)),
        finished: finished.sort((a, b) => compare(endOf(b), endOf(a))),
      };
    },
  };
}

/**
 * @param {BuildStatus} build
 * @param {Filter} filter
 */
export function matches(build, { state, ticket, series }) {
  return (
    (state === '' || build.state === state) &&
    (series === '' || (build.series ?? '').startsWith(series)) &&
    (ticket === '' || String(build.ticket_id).toLowerCase().includes(ticket.toLowerCase()))
  );
}

/** @param {Known} known */
function placeOf({ build }) {
  return build.place_in_queue ?? Number.MAX_SAFE_INTEGER;
}

/** @param {Known} known */
function endOf({ build }) {
  return build.finished_at ?? build.updated_at;
}

/**
 * @param {string} a
 * @param {string} b
 */
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
