import { element, fill } from './dom.js';

/** @import { Child } from './dom.js' */

/**
 * A part of the view, which is drawn again only when its data has changed, and hidden while it has none.
 *
 * @param {string} title
 * @param {string} [kind]
 */
export function panel(title, kind = '') {
  const content = element('div', { class: 'panel-content' });
  const node = element(
    'section',
    { class: `card panel ${kind}`, 'aria-label': title },
    element('h2', {}, title),
    content,
  );
  let key = '';
  node.hidden = true;
  return {
    node,
    /**
     * @param {unknown} data
     * @param {() => Child[]} make
     */
    show(data, make) {
      const next = JSON.stringify(data ?? null);
      if (next === key) return;
      key = next;
      node.hidden = data === undefined || data === null || data === false;
      if (!node.hidden) fill(content, ...make());
    },
  };
}
