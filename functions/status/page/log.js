import { element, setText } from './dom.js';
import { counted } from './text.js';

/** The log of a build: lines that come, follow the end while it is in view, and can be searched. */

/** Older lines make room. A browser draws that many without effort. */
const maximumLines = 20_000;

export function createLog() {
  const lines = element('ol', { class: 'lines' });
  const box = element(
    'div',
    { class: 'log-box', tabindex: '0', role: 'region', 'aria-label': 'Lines of the log' },
    lines,
  );
  const search = element('input', { type: 'search', id: 'log-search', autocomplete: 'off', spellcheck: 'false' });
  const found = element('span', { class: 'muted', role: 'status' });
  const follow = element('input', { type: 'checkbox', id: 'log-follow' });
  follow.checked = true;
  /** @type {HTMLElement[]} */
  let hits = [];
  let current = -1;

  const previous = element('button', { type: 'button', 'aria-label': 'Previous match', click: () => step(-1) }, '↑');
  const next = element('button', { type: 'button', 'aria-label': 'Next match', click: () => step(1) }, '↓');
  const node = element(
    'div',
    { class: 'log' },
    element(
      'div',
      { class: 'log-tools' },
      element('label', { for: 'log-search' }, 'Search'),
      search,
      previous,
      next,
      found,
      element('span', { class: 'spacer' }),
      element('label', { class: 'check' }, follow, 'Follow'),
    ),
    box,
  );

  search.addEventListener('input', () => {
    hits = [...lines.children].filter((line) => marks(line)).map((line) => /** @type {HTMLElement} */ (line));
    current = -1;
    if (hits.length > 0) step(1);
    else tellHits();
  });
  search.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    step(event.shiftKey ? -1 : 1);
  });
  follow.addEventListener('change', () => toEnd());

  /**
   * Marks a line where it matches the search.
   *
   * @param {Element} line
   */
  function marks(line) {
    const wanted = search.value.toLowerCase();
    const matches = wanted !== '' && (line.textContent ?? '').toLowerCase().includes(wanted);
    line.classList.toggle('hit', matches);
    line.classList.remove('current');
    return matches;
  }

  /** @param {number} by */
  function step(by) {
    hits[current]?.classList.remove('current');
    if (hits.length > 0) {
      current = (current + by + hits.length) % hits.length;
      follow.checked = false;
      hits[current]?.classList.add('current');
      hits[current]?.scrollIntoView({ block: 'nearest' });
    }
    tellHits();
  }

  function tellHits() {
    if (search.value === '') setText(found, '');
    else
      setText(
        found,
        hits.length === 0 ? 'no match' : `${Math.max(current, 0) + 1} of ${counted(hits.length, 'match', 'matches')}`,
      );
  }

  function toEnd() {
    if (follow.checked) box.scrollTop = box.scrollHeight;
  }

  return {
    node,
    /** @param {readonly string[]} more */
    append(more) {
      if (more.length === 0) return;
      const made = more.slice(-maximumLines).map((text) => element('li', {}, text === '' ? ' ' : text));
      if (search.value !== '') {
        hits.push(...made.filter((line) => marks(line)));
        tellHits();
      }
      lines.append(...made);
      for (let over = lines.children.length - maximumLines; over > 0; over -= 1) lines.firstElementChild?.remove();
      toEnd();
    },
    clear() {
      lines.replaceChildren();
      hits = [];
      current = -1;
      tellHits();
    },
  };
}
