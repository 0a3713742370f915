import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { endToEnd } from '#lib/serve/headers.ts';
import { findRoute, isOpen } from '#lib/serve/routes.ts';

test('URLs of functions keep their path and query as they were written', () => {
  assert.equal(findRoute('/function/echo'), { kind: 'function', name: 'echo', path: '/' });
  assert.equal(findRoute('/function/echo/?a=/b'), { kind: 'function', name: 'echo', path: '/?a=/b' });
  assert.equal(findRoute('/function/echo?a=1'), { kind: 'function', name: 'echo', path: '/?a=1' });
  assert.equal(findRoute('/function/echo//a/../b%2f'), { kind: 'function', name: 'echo', path: '//a/../b%2f' });
  assert.equal(findRoute('/async-function/echo/x'), { kind: 'async-function', name: 'echo', path: '/x' });
  assert.equal(findRoute('http://host:8000/function/echo/x'), { kind: 'function', name: 'echo', path: '/x' });
});

test("URLs of the API lead to the functions' own paths", () => {
  assert.equal(findRoute('/api/v1/imagebuilder/status?x=1'), { kind: 'function', name: 'status', path: '/?x=1' });
  assert.equal(findRoute('/api/v1/build_image/ID'), { kind: 'function', name: 'build-image', path: '/ID' });
  for (const path of ['/openapi.json', '/asyncapi.json']) {
    for (const target of [path, `/api/v1${path}`]) {
      assert.equal(findRoute(target), { kind: 'function', name: 'status', path }, target);
    }
  }
});

test('only the documents of the API are read without a token', () => {
  for (const target of ['/openapi.json', '/api/v1/asyncapi.json?x=1', '/function/status/openapi.json']) {
    for (const method of ['GET', 'HEAD']) assert.ok(isOpen(findRoute(target), method), target);
    for (const method of ['POST', 'DELETE', 'OPTIONS']) assert.not.ok(isOpen(findRoute(target), method), target);
  }
  for (const target of [
    ...[
      '/',
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
    '/function//x',
    '/api/v1/build_imageX',
    '/api/v1/imagebuilder',
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
