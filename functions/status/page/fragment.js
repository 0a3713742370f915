/**
 * The fragment of the page's address: the view, and the filter of the list. It stays in the browser.
 *
 * @typedef {object} Filter
 * @property {string} state Empty: any.
 * @property {string} ticket A part of the ticket's name.
 * @property {string} series
 *
 * @typedef {{ view: 'list', filter: Filter } | { view: 'build', id: string } | { view: 'new' }} Place
 */

export const states = ['queued', 'running', 'completed', 'failed', 'cancelled'];

/**
 * The place that a fragment names; the whole list for one that names nothing.
 *
 * @param {string} fragment
 * @returns {Place}
 */
export function readFragment(fragment) {
  const text = fragment.startsWith('#') ? fragment.slice(1) : fragment;
  if (text === 'new') return { view: 'new' };
  const id = /^build\/([0-9a-f-]{36})$/i.exec(text)?.[1];
  if (id !== undefined) return { view: 'build', id: id.toLowerCase() };
  const values = new URLSearchParams(text.startsWith('?') ? text.slice(1) : '');
  const state = values.get('state') ?? '';
  return {
    view: 'list',
    filter: {
      state: states.includes(state) ? state : '',
      ticket: values.get('ticket') ?? '',
      series: values.get('series') ?? '',
    },
  };
}

/**
 * @param {Filter} filter
 * @returns {string} A fragment with `#`.
 */
export function filterFragment(filter) {
  const values = new URLSearchParams(Object.entries(filter).filter(([, value]) => value !== ''));
  return values.size === 0 ? '#all' : `#?${values}`;
}

/** @param {string} id */
export function buildFragment(id) {
  return `#build/${id}`;
}
