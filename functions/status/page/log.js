import { element, setText } from './dom.js';
import { counted, logLine } from './text.js';

/** The log of a build: lines that come, follow the end while it is in view, and can be searched. */

/** Older lines make room. A browser draws that many without effort. */
const maximumLines = 20_000;
/** Lines are drawn together, since thousands may come at once, and less often where that takes long. */
const drawAfterMs = 80;

/** @param {() => void} onSave Saves the whole log. */
export function createLog(onSave) {
  // Without the numbers of an `ol`, which nobody sees.
  const lines = element('div', { class: 'lines', role: 'list' });
  const box = element(
    'div',
    { class: 'log-box', tabindex: '0', role: 'region', 'aria-label': 'Lines of the log' },
    lines,
  );
  const search = element('input', { type: 'search', id: 'log-search', autocomplete: 'off', spellcheck: 'false' });
  const found = element('span', { class: 'muted', role: 'status' });
  const follow = element('input', { type: 'checkbox', id: 'log-follow' });
  const note = element('p', { class: 'muted small' });
  follow.checked = true;
  note.hidden = true;
  /** @type {HTMLElement[]} */
  let hits = [];
  let current = -1;
  /** @type {string[]} */
  let waiting = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** Time that the last drawing took. */
  let drawnMs = 0;
  let dropped = 0;
  let trouble = '';

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
      element('button', { type: 'button', click: onSave }, 'Save log'),
    ),
    note,
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

  function tellNote() {
    const older = dropped === 0 ? '' : `${counted(dropped, 'older line')} not shown: “Save log” has all.`;
    setText(note, [trouble, older].filter((part) => part !== '').join(' '));
    note.hidden = trouble === '' && dropped === 0;
  }

  function toEnd() {
    if (follow.checked) box.scrollTop = box.scrollHeight;
  }

  function draw() {
    timer = undefined;
    const beganMs = performance.now();
    const made = waiting.map((text) => element('div', { role: 'listitem' }, text === '' ? ' ' : logLine(text)));
    waiting = [];
    if (search.value !== '') hits.push(...made.filter((line) => marks(line)));
    lines.append(...made);
    for (let over = lines.children.length - maximumLines; over > 0; over -= 1) {
      if (lines.firstElementChild === hits[0]) {
        hits.shift();
        current = Math.max(-1, current - 1);
      }
      lines.firstElementChild?.remove();
      dropped += 1;
    }
    tellHits();
    tellNote();
    toEnd();
    drawnMs = performance.now() - beganMs;
  }

  return {
    node,
    /** @param {readonly string[]} more */
    append(more) {
      if (more.length === 0) return;
      const all = waiting.concat(more);
      waiting = all.slice(-maximumLines);
      dropped += all.length - waiting.length;
      timer ??= setTimeout(draw, drawAfterMs + 4 * drawnMs);
    },
    clear() {
      lines.replaceChildren();
      waiting = [];
      hits = [];
      current = -1;
      dropped = 0;
      tellHits();
      tellNote();
    },
    /** @param {string} text Empty: none. */
    setTrouble(text) {
      trouble = text;
      tellNote();
    },
    isEmpty: () => lines.children.length + waiting.length === 0,
    close: () => clearTimeout(timer),
  };
}
