/**
 * The addresses of the API, found by the page's own: behind a proxy only the browser knows under which path the service
 * lies.
 *
 * @typedef {object} Addresses
 * @property {string} status The status document; with `/events` or `events` behind it, its stream.
 * @property {string} events
 * @property {string} builds Without `/` at its end: builds are below it.
 * @property {string} images As `builds`, of what the store has.
 */

/**
 * The addresses, always on the page's own server. `publicUrl`: IMAGEBUILDER_PUBLIC_URL, which counts only where the
 * page's path says nothing.
 *
 * @param {string} pageUrl
 * @param {string} publicUrl
 * @returns {Addresses}
 */
export function findAddresses(pageUrl, publicUrl) {
  const { origin, pathname } = new URL(pageUrl);
  const ofFunction = /^(.*)\/function\/status(\.[^/]+)?\/page\/?$/.exec(pathname);
  if (ofFunction !== null) {
    const [, prefix = '', namespace = ''] = ofFunction;
    const functions = `${origin}${prefix}/function`;
    const status = `${functions}/status${namespace}/`;
    return {
      ...{ status, events: `${status}events` },
      ...{ builds: `${functions}/build-image${namespace}`, images: `${functions}/images${namespace}` },
    };
  }
  const ofApi = /^(.*)\/api\/v1\/imagebuilder\/(?:status\/page\/?)?$/.exec(pathname);
  const api = `${origin}${ofApi?.[1] ?? prefixOf(origin, pathname, publicUrl)}/api/v1`;
  const status = `${api}/imagebuilder/status`;
  return { status, events: `${status}/events`, builds: `${api}/build_image`, images: `${api}/images` };
}

/**
 * @param {string} origin
 * @param {string} pathname
 * @param {string} publicUrl
 */
function prefixOf(origin, pathname, publicUrl) {
  if (URL.canParse(publicUrl)) {
    const known = new URL(publicUrl);
    if (known.origin === origin) return known.pathname.endsWith('/') ? known.pathname.slice(0, -1) : known.pathname;
  }
  return pathname.slice(0, pathname.lastIndexOf('/'));
}
