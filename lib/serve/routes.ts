import { readPath } from './path.ts';

/** The resource of the gateway that a URL names. */
export type Route =
  /** `path` is the function's part: path and query, beginning with `/`. */
  | { readonly kind: 'function' | 'async-function'; readonly name: string; readonly path: string }
  | { readonly kind: 'functions' | 'health' | 'metrics' | 'none' | 'malformed' }
  /** A URL of OpenFaaS with `//`, `.` or `..` in its path, or that of the page without `/`; `location` is the right one. */
  | { readonly kind: 'moved'; readonly location: string };

/** Paths of the API and the function each leads to; `rest` begins with `/`. */
const api: readonly { readonly pattern: RegExp; readonly name: string; readonly path: (rest: string) => string }[] = [
  { pattern: /^\/api\/v1\/imagebuilder\/status(\/.*)?$/, name: 'status', path: (rest) => rest },
  { pattern: /^\/api\/v1\/build_image(\/.*)?$/, name: 'build-image', path: (rest) => rest },
  { pattern: /^\/api\/v1\/images(\/.*)?$/, name: 'images', path: (rest) => rest },
  { pattern: /^(?:\/api\/v1)?(\/(?:open|async)api\.json)$/, name: 'status', path: (rest) => rest },
  // The live page and its files.
  { pattern: /^(?:\/api\/v1\/imagebuilder)?\/$/, name: 'status', path: () => '/page' },
  { pattern: /^(?:\/api\/v1\/imagebuilder)?(\/page\/[^/]+)$/, name: 'status', path: (rest) => rest },
];

/** Namespace of functions in a cluster, which may follow the name of a function. */
const namespace = '.openfaas-fn';

/**
 * The function, or page of the gateway, that a request target (as in the request line: path and query, nothing decoded)
 * leads to. Paths of OpenFaaS are read as its gateway reads them; a function below a path of the API gets the rest of
 * the path as it was written.
 */
export function findRoute(target: string): Route {
  const relative = target.replace(/^https?:\/\/[^/?]*/i, '');
  const mark = relative.indexOf('?');
  const written = mark === -1 ? relative : relative.slice(0, mark);
  const query = mark === -1 ? '' : relative.slice(mark);
  for (const entry of api) {
    const match = entry.pattern.exec(written);
    if (match !== null) return { kind: 'function', name: entry.name, path: `${entry.path(match[1] ?? '/')}${query}` };
  }
  // Relative, for proxies that know the gateway below another path.
  if (written === '/api/v1/imagebuilder') return { kind: 'moved', location: `imagebuilder/${query}` };
  const read = readPath(written);
  if (read === undefined) return { kind: 'malformed' };
  const route = routeOfOpenFaas(read.clean, query);
  if (read.path === read.clean || route.kind === 'none') return route;
  return { kind: 'moved', location: `${read.clean}${query}` };
}

function routeOfOpenFaas(path: string, query: string): Route {
  const call = /^\/(function|async-function)\/([^/]+)(\/.*)?$/.exec(path);
  if (call?.[2] !== undefined) {
    const kind = call[1] === 'function' ? 'function' : 'async-function';
    const name = call[2].endsWith(namespace) ? call[2].slice(0, -namespace.length) : call[2];
    return { kind, name, path: `${call[3] ?? '/'}${query}` };
  }
  if (path === '/system/functions') return { kind: 'functions' };
  if (/^\/healthz\/?$/.test(path)) return { kind: 'health' };
  if (path === '/metrics') return { kind: 'metrics' };
  return { kind: 'none' };
}

/** True for a call that needs no token: it reads a document that describes the API, or a file of the live page. */
export function isOpen(route: Route, method: string): boolean {
  const reads = method === 'GET' || method === 'HEAD';
  return (
    reads &&
    route.kind === 'function' &&
    route.name === 'status' &&
    /^\/(?:(?:open|async)api\.json|page(?:\/page)?(?:\/[^/?]*)?)(?:\?|$)/.test(route.path)
  );
}
