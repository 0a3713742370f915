import { send } from './calls.js';
import { element } from './dom.js';

/** Saves answers of the API as files. A link would carry no token, so the page reads the answer and hands it on. */

/** The first bytes come within this time; the rest takes as long as it takes. */
const answerWithinMs = 35_000;

/**
 * Saves the content of `url` under this name. `elsewhere`: its place in a store, where the browser goes when the API leads
 * it there.
 *
 * @param {string} url
 * @param {string} name
 * @param {string | null} elsewhere
 */
export async function save(url, name, elsewhere) {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), answerWithinMs);
  const response = await send(url, { redirect: 'manual', signal: late.signal }).finally(() => clearTimeout(timer));
  if (response.type === 'opaqueredirect') {
    if (elsewhere !== null) element('a', { href: elsewhere, rel: 'noreferrer', target: '_blank' }).click();
    return;
  }
  const href = URL.createObjectURL(await response.blob());
  element('a', { href, download: name }).click();
  // The browser has taken it by then.
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
