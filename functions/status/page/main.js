import { findAddresses } from './addresses.js';
import { createBuildView } from './build.js';
import { ApiError, session } from './calls.js';
import { byId, setAttribute, setHidden, setText } from './dom.js';
import { openFeed } from './feed.js';
import { createForm } from './form.js';
import { readFragment } from './fragment.js';
import { createList } from './list.js';

/** The page: the view that the fragment names, kept up to date by one feed. */

/**
 * @import { Problem } from '#lib/api/problem.ts'
 * @import { Status } from '#lib/api/status.ts'
 * @import { Place } from './fragment.js'
 */

const publicUrl = document.querySelector('meta[name="imagebuilder-public-url"]')?.getAttribute('content') ?? '';
const addresses = findAddresses(location.href, publicUrl);
const toastMs = 6_000;

const views = {
  token: byId('view-token', HTMLElement),
  list: byId('view-list', HTMLElement),
  build: byId('view-build', HTMLElement),
  new: byId('view-new', HTMLElement),
};
const main = byId('main', HTMLElement);
const banner = byId('banner', HTMLElement);
const connection = byId('connection', HTMLElement);
const forget = byId('forget-token', HTMLButtonElement);
const toast = byId('toast', HTMLElement);
const connectionTexts = { connecting: 'Connecting', live: 'Live', polling: 'Polling', offline: 'Offline' };

const list = createList(addresses, onError);
let formMade = false;
/** @type {{ close(): void } | undefined} */
let feed;
/** @type {{ update(status: Status): void, tick(): void, close?(): void } | undefined} */
let current;
/** Of the view that is shown. */
let shownKey = '';
/** @type {ReturnType<typeof setTimeout> | undefined} */
let toastTimer;

/** @param {string} news */
function onNews(news) {
  setText(toast, news);
  toast.classList.add('shown');
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    toast.classList.remove('shown');
    setText(toast, '');
  }, toastMs);
}

/** @param {unknown} error */
function onError(error) {
  if (error instanceof ApiError && error.problem.code === 'request.unauthorized') askToken();
  else onNews(error instanceof ApiError ? error.message : 'The service cannot be reached.');
}

/** @param {string} text Empty hides it. */
function showBanner(text) {
  setText(banner, text);
  setHidden(banner, text === '');
}

/** @param {keyof typeof views} name */
function showView(name) {
  for (const [key, view] of Object.entries(views)) setHidden(view, key !== name);
}

function askToken() {
  // The answer to another call that was sent with the same token.
  if (session.token === '' && !views.token.hidden) return;
  feed?.close();
  feed = undefined;
  current?.close?.();
  current = undefined;
  setText(byId('token-fault', HTMLElement), session.token === '' ? '' : 'The service does not know this token.');
  session.token = '';
  forget.hidden = true;
  shownKey = '';
  showBanner('');
  showConnection('connecting', '', 'Signed out');
  document.title = 'Sign in – Image Builder';
  showView('token');
  byId('token', HTMLInputElement).focus();
}

/**
 * @param {keyof typeof connectionTexts} state
 * @param {string} reason
 * @param {string} [text]
 */
function showConnection(state, reason, text = connectionTexts[state]) {
  setAttribute(connection, 'data-state', state);
  setAttribute(connection, 'title', reason);
  setText(byId('connection-text', HTMLElement), text);
  if (state === 'offline') showBanner(`${reason} What is shown may be out of date; trying again.`);
}

/** @param {Problem} problem */
function onProblem(problem) {
  if (problem.code === 'request.unauthorized') askToken();
  else showBanner(problem.detail);
}

/** @param {string} query */
function openFeedFor(query) {
  feed?.close();
  feed = openFeed({
    ...{ addresses, query, onProblem },
    onStatus(status) {
      setHidden(forget, session.token === '');
      const { broker } = status;
      if (!broker.reachable) showBanner('RabbitMQ is out of reach: what is shown is the last that is known.');
      else if (status.status === 'degraded') showBanner('No worker can build at the moment: builds wait.');
      else showBanner('');
      current?.update(status);
    },
    onConnection: showConnection,
  });
}

/** @param {Place} place */
function keyOf(place) {
  return place.view === 'build' ? place.id : place.view;
}

/** Shows the view that the fragment names. */
function show() {
  const place = readFragment(location.hash);
  const key = keyOf(place);
  const isNew = key !== shownKey;
  const isFirst = shownKey === '';
  if (isNew) current?.close?.();
  shownKey = key;
  setAttribute(byId('nav-list', HTMLElement), 'aria-current', place.view === 'list' ? 'page' : null);
  setAttribute(byId('nav-new', HTMLElement), 'aria-current', place.view === 'new' ? 'page' : null);
  showView(place.view);
  if (place.view === 'list') {
    document.title = 'Builds – Image Builder';
    if (isNew) {
      current = list;
      openFeedFor('');
    }
    list.setFilter(place.filter);
  } else if (place.view === 'build' && isNew) {
    document.title = 'Build – Image Builder';
    const view = createBuildView(views.build, { addresses, id: place.id, onError, onNews });
    current = view;
    openFeedFor(`?build_id=${place.id}`);
  } else if (place.view === 'new' && isNew) {
    document.title = 'New build – Image Builder';
    if (!formMade) createForm(views.new, { addresses, onError, onNews });
    formMade = true;
    current = undefined;
    openFeedFor('');
  }
  if (isNew && !isFirst) {
    window.scrollTo(0, 0);
    (views[place.view].querySelector('h1') ?? main).focus();
  }
}

byId('skip', HTMLElement).addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
byId('token-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const input = byId('token', HTMLInputElement);
  const token = input.value.trim();
  // Other characters cannot stand in a header.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    setText(byId('token-fault', HTMLElement), 'A token has letters, digits and signs, and no blanks.');
    return;
  }
  session.token = token;
  input.value = '';
  show();
});
forget.addEventListener('click', () => {
  session.token = '';
  list.clear();
  askToken();
});
window.addEventListener('hashchange', show);
window.addEventListener('popstate', show);
setInterval(() => current?.tick(), 1_000);
show();
