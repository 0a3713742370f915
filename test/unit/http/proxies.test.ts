import { inspect } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import type { HttpClientOptions } from '#lib/http/client.ts';
import { matchesHost, parseHostRules, parseProxy, proxyFor } from '#lib/proxies.ts';
import { startLabProxy } from '../../../lab/servers/http-proxy.ts';
import { rejection, startServer, testClient } from '../fetch/with-server.ts';

/** Requests through the proxies of a company's network. */

/** A client as a worker has it with these variables. */
function clientOf(environment: Record<string, string>, options: Parameters<typeof testClient>[0] = {}) {
  const { proxies, trust } = loadConfig(environment).http;
  return testClient({ proxies, trust, retry: { attempts: 1 }, ...options } as Partial<HttpClientOptions>);
}
const resolving = (addresses: Record<string, string>) => ({
  egressOptions: {
    resolve: async (host: string) => {
      const address = addresses[host];
      if (address === undefined) throw Object.assign(new Error(`no ${host}`), { code: 'ENOTFOUND' });
      return [{ address, family: 4 }];
    },
  },
});

test('no_proxy is read by the rules of curl and Go', () => {
  const direct = (list: string, url: string) => {
    const rules = parseHostRules(list.split(','));
    assert.ok(typeof rules !== 'string', list);
    return matchesHost(new URL(url), rules);
  };
  for (const [list, url, expected] of [
    ['*', 'http://any.example/', true],
    ['example.org', 'http://example.org/', true],
    ['example.org', 'https://a.b.EXAMPLE.org./', true],
    ['example.org', 'http://badexample.org/', false],
    ['example.org', 'http://example.org.evil/', false],
    ['.example.org', 'http://example.org/', true],
    ['.example.org', 'http://a.example.org/', true],
    ['*.example.org', 'http://a.example.org/', true],
    ['*.example.org', 'http://example.org/', false],
    ['Example.ORG', 'http://example.org/', true],
    ['example.org:8080', 'http://example.org:8080/', true],
    ['example.org:8080', 'http://example.org/', false],
    ['example.org:443', 'https://example.org/', true],
    ['10.0.0.0/8', 'http://10.1.2.3/', true],
    ['10.0.0.0/8', 'http://11.1.2.3/', false],
    ['10.0.0.0/8', 'http://10.example/', false],
    ['10.1.2.3', 'http://10.1.2.3:80/', true],
    ['10.1.2.3:81', 'http://10.1.2.3/', false],
    ['::1', 'http://[::1]/', true],
    ['[::1]', 'http://[0:0:0:0:0:0:0:1]/', true],
    ['[::1]:8080', 'http://[::1]:8080/', true],
    ['[::1]:8080', 'http://[::1]/', false],
    ['fd00::/8', 'http://[fd12::5]/', true],
    ['localhost,127.0.0.1', 'http://127.0.0.1/', true],
  ] as const) {
    assert.is(direct(list, url), expected, `${list} ${url}`);
  }
  for (const word of ['http://x', 'x/y', '10.0.0.0/33', 'a:b', 'a:0', '[::1', '.']) {
    assert.type(parseHostRules([word]), 'string', word);
  }
});

test('proxies come from the settings, or else from the usual variables, in small letters first', () => {
  const of = (environment: Record<string, string>, url: string) =>
    proxyFor(new URL(url), loadConfig(environment).http.proxies)?.url ?? null;
  const usual = { http_proxy: 'small:3128', HTTP_PROXY: 'http://great:1', HTTPS_PROXY: 'https://secure/' };
  assert.is(of(usual, 'http://x/'), 'http://small:3128');
  assert.is(of(usual, 'https://x/'), 'https://secure');
  assert.is(of({ ...usual, NO_PROXY: 'x y' }, 'https://y/'), null);
  assert.is(of({ ...usual, no_proxy: '<local>, 127.0.0.*,y' }, 'https://y/'), null, 'words of other programs');
  assert.is(of({ ...usual, IMAGEBUILDER_HTTP_PROXY: 'http://own:8' }, 'http://x/'), 'http://own:8');
  assert.is(of({ ...usual, IMAGEBUILDER_HTTP_PROXY: 'none' }, 'http://x/'), null);
  assert.is(of({ ...usual, no_proxy: '*', IMAGEBUILDER_NO_PROXY: 'none' }, 'http://x/'), 'http://small:3128');
  assert.is(of({ http_proxy: 'http://small:3128' }, 'https://x/'), null, 'https has a proxy of its own');
});

test('a proxy that cannot be used is refused at the start, and its password quoted nowhere', () => {
  for (const [variable, value] of [
    ['http_proxy', 'socks5://user:hidden@proxy:1080'],
    ['HTTPS_PROXY', 'http://user:hidden@'],
    ['IMAGEBUILDER_HTTP_PROXY', 'http://user:hidden%@proxy/'],
    ['IMAGEBUILDER_HTTPS_PROXY', 'http://user:hidden@proxy/path'],
    ['IMAGEBUILDER_NO_PROXY', 'a/b'],
  ] as const) {
    assert.throws(
      () => loadConfig({ [variable]: value }),
      (error: Error) => error.message.includes(`${variable} `) && !error.message.includes('hidden'),
      variable,
    );
  }
});

test('credentials of a proxy are known as secrets in every form', () => {
  const { log } = loadConfig({ https_proxy: 'http://me:p%40ss@proxy:3128' });
  for (const secret of ['p@ss', 'p%40ss', Buffer.from('me:p@ss').toString('base64')]) {
    assert.ok(log.secrets.includes(secret), secret);
  }
  const proxy = parseProxy('proxy:3128', 'me:p@ss');
  assert.is(typeof proxy !== 'string' && proxy.authorization, `Basic ${Buffer.from('me:p@ss').toString('base64')}`);
});

test('http goes to the proxy with the whole URL, and the server gets none of the credentials', async () => {
  await using server = await startServer((request, response) => void request.pipe(response));
  await using proxy = await startLabProxy({ credentials: 'me:p@ss', hosts: { 'files.example': '127.0.0.1' } });
  using client = clientOf(
    { http_proxy: `http://me:p%40ss@127.0.0.1:${proxy.port}` },
    resolving({ 'files.example': '127.0.0.1' }),
  );
  const url = server.url.replace('127.0.0.1', 'files.example');
  await client.getText(`${url}/a%20b?c=d`, { maximumBytes: 100 });
  assert.equal((await client.postJson(`${url}/hook`, '{}', {})).status, 200);
  assert.equal(proxy.requests, [`GET ${url}/a%20b?c=d`, `POST ${url}/hook`]);
  assert.equal(server.requests, ['GET /a%20b?c=d', 'POST /hook']);
  for (const headers of server.headers) {
    assert.is(headers['proxy-authorization'], undefined);
    assert.is(headers.host, new URL(url).host);
  }
});

test('https goes through a tunnel that the proxy cannot look into', async () => {
  await using server = await startServer((_, response) => void response.end('body'), { tls: true });
  await using proxy = await startLabProxy({ credentials: 'me:pass' });
  using client = clientOf({ https_proxy: `http://me:pass@127.0.0.1:${proxy.port}` });
  assert.is((await client.getText(`${server.url}/x`, { maximumBytes: 100 })).text, 'body');
  assert.is((await client.getText(`${server.url}/y`, { maximumBytes: 100 })).text, 'body');
  assert.equal(proxy.requests, [`CONNECT ${new URL(server.url).host}`], 'kept for the second request');
  assert.is(server.headers[0]?.['proxy-authorization'], undefined);
});

test('http and https have a proxy each, whichever is asked for first', async () => {
  await using plain = await startServer((_, response) => void response.end('body'));
  await using secure = await startServer((_, response) => void response.end('body'), { tls: true });
  for (const urls of [
    [plain.url, secure.url],
    [secure.url, plain.url],
  ]) {
    await using one = await startLabProxy({ credentials: 'one:1' });
    await using two = await startLabProxy({ credentials: 'two:2' });
    using client = clientOf({
      http_proxy: `http://one:1@127.0.0.1:${one.port}`,
      https_proxy: `http://two:2@127.0.0.1:${two.port}`,
    });
    for (const url of urls) await client.getText(url, { maximumBytes: 100 });
    assert.equal(one.requests, [`GET ${plain.url}/`]);
    assert.equal(two.requests, [`CONNECT ${new URL(secure.url).host}`]);
  }
});

test('a server that no_proxy names is reached without the proxy', async () => {
  await using server = await startServer((_, response) => void response.end('body'));
  await using proxy = await startLabProxy();
  using client = clientOf({ http_proxy: proxy.url, no_proxy: '127.0.0.0/8' });
  await client.getText(server.url, { maximumBytes: 100 });
  assert.equal(proxy.requests, []);
});

test('egress rules hold though the proxy could reach the address: by name, by address, by redirect and in a tunnel', async () => {
  await using server = await startServer(
    (_, response) => void response.writeHead(302, { location: 'http://inside.example/' }).end(),
  );
  await using proxy = await startLabProxy({ hosts: { 'outside.example': '127.0.0.1', 'inside.example': '127.0.0.1' } });
  const { egressOptions } = resolving({ 'outside.example': '127.0.0.1', 'inside.example': '10.0.0.1' });
  using client = clientOf(
    { http_proxy: proxy.url, https_proxy: proxy.url },
    { egressOptions: { ...egressOptions, allowedPrivate: [] } },
  );
  const outside = server.url.replace('127.0.0.1', 'outside.example');
  for (const url of [
    'http://inside.example/',
    'https://inside.example/',
    'http://10.0.0.1/',
    'http://169.254.169.254/',
    outside,
  ]) {
    const error = await rejection(client.getText(url, { maximumBytes: 100 }));
    assert.is(error.code, 'egress.refused', url);
  }
  const signal = new AbortController().signal;
  assert.is((await rejection(client.tunnel(new URL('https://inside.example/'), { signal }))).code, 'egress.refused');
  assert.equal(proxy.requests, [`GET ${outside}/`], 'the proxy was asked for none of them');
});

test('a name that the worker cannot resolve goes to the proxy only where the operator says so', async () => {
  await using server = await startServer((_, response) => void response.end('body'));
  await using proxy = await startLabProxy({ hosts: { 'far.example': '127.0.0.1' } });
  const url = server.url.replace('127.0.0.1', 'far.example');
  using careful = clientOf({ http_proxy: proxy.url }, resolving({}));
  const error = await rejection(careful.getText(url, { maximumBytes: 100 }));
  assert.match(error.message, /cannot check its addresses; .* IMAGEBUILDER_PROXY_RESOLVES/);
  assert.equal(proxy.requests, []);
  using trusting = clientOf({ http_proxy: proxy.url, IMAGEBUILDER_PROXY_RESOLVES: 'true' }, resolving({}));
  assert.is((await trusting.getText(url, { maximumBytes: 100 })).text, 'body');
  assert.is(
    (await rejection(trusting.getText('http://metadata.google.internal/', { maximumBytes: 1 }))).code,
    'egress.refused',
  );
});

test('errors of a proxy name it, say what to do, and hold no password', async () => {
  await using server = await startServer((_, response) => void response.end('body'), { tls: true });
  await using asking = await startLabProxy({ credentials: 'me:right' });
  await using forbidding = await startLabProxy({ connectStatus: 403 });
  await using failing = await startLabProxy({ connectStatus: 503 });
  await using gone = await startLabProxy();
  await gone[Symbol.asyncDispose]();
  for (const [proxy, credentials, code, message] of [
    [asking, '', 'proxy.refused', /answered 407 .*secret proxy-credentials/],
    [asking, 'me:wrong-password@', 'proxy.refused', /answered 407 .*does not accept its user and password/],
    [forbidding, '', 'proxy.refused', /answered 403/],
    [failing, '', 'upstream.unreachable', /answered 503/],
    [gone, '', 'upstream.unreachable', /the connection was refused/],
  ] as const) {
    const address = `127.0.0.1:${proxy.port}`;
    const variables = { https_proxy: `http://${credentials}${address}`, http_proxy: `http://${credentials}${address}` };
    using client = clientOf(variables);
    const urls = message.source.includes('407') ? [server.url, server.url.replace('https', 'http')] : [server.url];
    for (const url of urls) {
      const error = await rejection(client.getText(url, { maximumBytes: 100 }));
      assert.is(error.code, code, error.message);
      assert.match(error.message, `the proxy http://${address} `);
      assert.match(error.message, message);
      assert.not.match(inspect(error, { depth: 9 }), 'wrong-password');
      assert.not.match(inspect(error, { depth: 9 }), Buffer.from('me:wrong-password').toString('base64'));
    }
  }
});

test.run();
