import { z } from 'zod';
import type { RequestFault } from '../errors.ts';
import { type HttpProxy, noProxies, type Proxies, parseHostRules, parseProxy } from '../proxies.ts';
import { list, yesNo } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** Proxies on the way to other servers. */
export const proxySettings = {
  httpProxy: setting(
    'IMAGEBUILDER_HTTP_PROXY',
    z.string(),
    '',
    'Proxy for http URLs, such as `http://proxy.example:3128`; `none`: no proxy. Empty: the variable `http_proxy`, or `HTTP_PROXY` ([docs/deploying.md](docs/deploying.md#proxies)).',
  ),
  httpsProxy: setting(
    'IMAGEBUILDER_HTTPS_PROXY',
    z.string(),
    '',
    'The same for https URLs, with `https_proxy` and `HTTPS_PROXY`.',
  ),
  noProxy: setting(
    'IMAGEBUILDER_NO_PROXY',
    z.string(),
    '',
    'Servers that are reached without a proxy, such as `localhost,.corp.example,10.0.0.0/8,registry.example:5000`; `none`: no such server. Empty: the variable `no_proxy`, or `NO_PROXY`.',
  ),
  proxyResolves: setting(
    'IMAGEBUILDER_PROXY_RESOLVES',
    yesNo,
    'false',
    'Whether names that the worker cannot resolve go to the proxy all the same. The egress rules cannot check their addresses then: the proxy has to.',
  ),
} as const satisfies Declarations;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxies of the settings, or of the usual variables. Adds to `faults`, which quote no value. A setting with a fault of
 * its own is missing.
 */
export function readProxies(
  settings: Partial<SettingsOf<typeof proxySettings>>,
  environment: Environment,
  credentials: string | null,
  faults: RequestFault[],
): Proxies {
  /** The text, and the name of its source. */
  const find = (
    value: string | undefined,
    variable: string,
    usual: string,
  ): readonly [text: string, source: string] => {
    if (value) return [value, variable];
    const name = [usual, usual.toUpperCase()].find((each) => environment[each]) ?? usual;
    return [environment[name] ?? '', name];
  };
  const read = ([text, path]: readonly [string, string]): HttpProxy | null => {
    if (text.trim() === '' || text === 'none') return null;
    const proxy = parseProxy(text.trim(), credentials);
    if (typeof proxy !== 'string') return proxy;
    faults.push({ path, message: proxy });
    return null;
  };
  const { variable } = proxySettings.noProxy;
  const [exceptions, path] = find(settings.noProxy, variable, 'no_proxy');
  const words = exceptions === 'none' ? [] : list.parse(exceptions);
  // The usual variable is for every program, and may hold words that other programs alone know.
  const known = path === variable ? words : words.filter((word) => typeof parseHostRules([word]) !== 'string');
  const direct = parseHostRules(known);
  if (typeof direct === 'string') faults.push({ path, message: direct });
  return {
    http: read(find(settings.httpProxy, proxySettings.httpProxy.variable, 'http_proxy')),
    https: read(find(settings.httpsProxy, proxySettings.httpsProxy.variable, 'https_proxy')),
    direct: typeof direct === 'string' ? noProxies.direct : direct,
    resolve: settings.proxyResolves === true,
  };
}

/** Every form of a proxy's credentials that must appear nowhere. */
export function secretsOfProxies({ http, https }: Proxies): string[] {
  return [http, https].flatMap((proxy) => {
    if (proxy === null || proxy.authorization === null) return [];
    const encoded = proxy.authorization.slice('Basic '.length);
    const credentials = Buffer.from(encoded, 'base64').toString();
    const password = credentials.slice(credentials.indexOf(':') + 1);
    return [encoded, password, encodeURIComponent(password)].filter((secret) => secret !== '');
  });
}
