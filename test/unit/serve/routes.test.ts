import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { endToEnd } from '#lib/serve/headers.ts';
import { findRoute, isOpen } from '#lib/serve/routes.ts';

test('the metrics of all functions have a path of their own', () => {
  for (const target of ['/metrics', '/metrics?x=1', '/%6detrics']) assert.equal(findRoute(target), { kind: 'metrics' });
  for (const target of ['/metrics/x', '/metricsx']) assert.equal(findRoute(target), { kind: 'none' });
  assert.not.ok(isOpen({ kind: 'metrics' }, 'GET'));
});

test('URLs of functions keep their path and query', () => {
  assert.equal(findRoute('/function/echo'), { kind: 'function', name: 'echo', path: '/' });
  assert.equal(findRoute('/function/echo/'), { kind: 'function', name: 'echo', path: '/' });
  assert.equal(findRoute('/function/echo/?a=/b'), { kind: 'function', name: 'echo', path: '/?a=/b' });
  assert.equal(findRoute('/function/echo?a=//../%2F%'), { kind: 'function', name: 'echo', path: '/?a=//../%2F%' });
  assert.equal(findRoute('/function/echo/a/b/'), { kind: 'function', name: 'echo', path: '/a/b/' });
  assert.equal(findRoute('/async-function/echo/x'), { kind: 'async-function', name: 'echo', path: '/x' });
  assert.equal(findRoute('http://host:8000/function/echo/x'), { kind: 'function', name: 'echo', path: '/x' });
});

test('paths of functions have one spelling, as with the gateway and the provider of OpenFaaS', () => {
  for (const [written, path = ''] of [
    ['/a%2Fb%2f', '/a/b/'],
    ['/a%20b', '/a%20b'],
    ['/%41%7e', '/A~'],
    ['/grün', '/gr%FCn'],
    ['/gr%c3%bcn', '/gr%C3%BCn'],
    ['/%252F', '/%252F'],
    ['/a%3Fb%23c%0A', '/a%3Fb%23c%0A'],
    ["/!'()*[]", '/%21%27%28%29%2A%5B%5D'],
    ['/$&+,:;=@-._~', '/$&+,:;=@-._~'],
  ]) {
    assert.equal(findRoute(`/function/echo${written}`), { kind: 'function', name: 'echo', path }, written);
  }
  assert.equal(findRoute('/%66unction/ec%68o/x?y'), { kind: 'function', name: 'echo', path: '/x?y' });
});

test('the name of a function may have the namespace of OpenFaaS behind it', () => {
  assert.equal(findRoute('/function/echo.openfaas-fn/x'), { kind: 'function', name: 'echo', path: '/x' });
  assert.equal(findRoute('/async-function/echo.openfaas-fn'), { kind: 'async-function', name: 'echo', path: '/' });
  for (const name of ['echo.other', 'echo.openfaas-fn.openfaas-fn', 'echo.openfaas-fn.']) {
    const route = findRoute(`/function/${name}`);
    assert.is.not('name' in route && route.name, 'echo', name);
  }
});

test('URLs of OpenFaaS with empty segments or dots are moved to those without, on this host', () => {
  for (const [target = '', location] of [
    ['/function/echo//a/../b%2f', '/function/echo/b/'],
    ['//function//echo?a=//b', '/function/echo?a=//b'],
    ['/function/echo/../other/./x', '/function/other/x'],
    ['/function/echo/..%2fother', '/function/other'],
    ['/function/echo/%2e%2e/other', '/function/other'],
    ['/function/echo/%2F', '/function/echo/'],
    ['/nothing/../async-function/echo/', '/async-function/echo/'],
    ['/system/functions/.', '/system/functions'],
    ['/.//healthz', '/healthz'],
    ['/../../../function/echo', '/function/echo'],
  ]) {
    assert.equal(findRoute(target), { kind: 'moved', location }, target);
  }
  for (const target of ['//evil.example/x', '//evil.example/..', '/function/..', '/function//', '/\\evil.example//']) {
    assert.equal(findRoute(target), { kind: 'none' }, target);
  }
});

test('a path with a broken escape is malformed', () => {
  for (const target of ['/function/echo/%', '/function/echo/%4', '/function/echo/%zz', '/%']) {
    assert.equal(findRoute(target), { kind: 'malformed' }, target);
  }
});

test('the list of functions has one URL', () => {
  assert.equal(findRoute('/system/functions?x'), { kind: 'functions' });
  assert.equal(findRoute('/system/functions/'), { kind: 'none' });
});

test("URLs of the API lead to the functions' own paths", () => {
  assert.equal(findRoute('/api/v1/imagebuilder/status?x=1'), { kind: 'function', name: 'status', path: '/?x=1' });
  assert.equal(findRoute('/api/v1/build_image/ID'), { kind: 'function', name: 'build-image', path: '/ID' });
  assert.equal(findRoute('/api/v1/images/ID'), { kind: 'function', name: 'images', path: '/ID' });
  assert.equal(findRoute('/api/v1/images?limit=1'), { kind: 'function', name: 'images', path: '/?limit=1' });
  assert.equal(findRoute('/api/v1/imagesque'), { kind: 'none' });
  assert.equal(findRoute('/api/v1/build_image//a%2F/..'), { kind: 'function', name: 'build-image', path: '//a%2F/..' });
  for (const path of ['/openapi.json', '/asyncapi.json']) {
    for (const target of [path, `/api/v1${path}`]) {
      assert.equal(findRoute(target), { kind: 'function', name: 'status', path }, target);
    }
  }
});

test('the page and its files are at the root and below the API, and the address without a slash leads there', () => {
  for (const target of ['/', '/?x', '/api/v1/imagebuilder/']) {
    const query = target.includes('?') ? '?x' : '';
    assert.equal(findRoute(target), { kind: 'function', name: 'status', path: `/page${query}` }, target);
  }
  for (const target of ['/page/main.js', '/api/v1/imagebuilder/page/main.js']) {
    assert.equal(findRoute(target), { kind: 'function', name: 'status', path: '/page/main.js' }, target);
  }
  assert.equal(findRoute('/api/v1/imagebuilder?x'), { kind: 'moved', location: 'imagebuilder/?x' });
});

test('only the documents of the API and the files of the page are read without a token', () => {
  for (const target of [
    ...['/openapi.json', '/api/v1/asyncapi.json?x=1', '/function/status/openapi.json'],
    ...['/', '/api/v1/imagebuilder/', '/page/main.js', '/function/status/page', '/function/status/page/main.js?x'],
  ]) {
    for (const method of ['GET', 'HEAD']) assert.ok(isOpen(findRoute(target), method), target);
    for (const method of ['POST', 'DELETE', 'OPTIONS']) assert.not.ok(isOpen(findRoute(target), method), target);
  }
  for (const target of [
    ...[
      '/api/v1/imagebuilder/status/events',
      '/function/status/pages',
      '/function/status/page/x/y',
      '/function/build-image/page',
      '/healthz',
      '/system/functions',
      '/api/v1/imagebuilder/status',
      '/api/v1/imagebuilder/status/asyncapi.json/x',
    ],
    ...['/function/build-image/openapi.json', '/async-function/status/openapi.json', '/function/status//openapi.json'],
    ...['/function/status/openapi.json/', '/function/status/x?/openapi.json', '/api/v1/build_image/openapi.json'],
  ]) {
    assert.not.ok(isOpen(findRoute(target), 'GET'), target);
  }
});

test('a path that only looks like a route leads nowhere', () => {
  for (const target of [
    '/functions/echo',
    '/function/',
    '/api/v1/build_imageX',
    '/api/v1/imagebuilder/x',
    '/page',
    '*',
    '',
    '/api/v1/openapi.jsonx',
    '/api/v1/api.json',
  ]) {
    assert.equal(findRoute(target), { kind: 'none' }, target);
  }
});

test('headers of the connection stay with it, all others are passed on, repeated ones too', () => {
  const headers = ['Connection', 'close, X-Hop', 'X-Hop', '1', 'TE', 'trailers', 'Set-Cookie', 'a', 'Set-Cookie', 'b'];
  assert.equal(endToEnd(headers), ['Set-Cookie', 'a', 'Set-Cookie', 'b']);
  assert.equal(endToEnd(['X-Call-Id', '1', 'Accept', '*/*'], ['x-call-id']), ['Accept', '*/*']);
});

test.run();
