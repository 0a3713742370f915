import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { createPage } from '../../../functions/status/page.ts';
import { pathOf } from '../../../functions/status/status.ts';

/** The files of the live page, as the function serves them. */

function get(name: string, headers: Readonly<Record<string, string>> = {}, publicUrl = '') {
  let status = 200;
  const answered: Record<string, string> = {};
  const answer = {
    status: (code: number) => {
      status = code;
    },
    headers: (values: Readonly<Record<string, string>>) => Object.assign(answered, values),
  };
  const body = createPage(publicUrl).answer(answer, name, headers);
  return { status, headers: answered, text: body === undefined ? '' : String(body) };
}

test('the page runs its own scripts only, in no frame, and calls nobody else', () => {
  const { headers, text } = get('index.html');
  const policy = headers['content-security-policy'] ?? '';
  assert.match(policy, /^default-src 'none'; /);
  for (const part of ["script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]) {
    assert.ok(policy.split('; ').includes(part), part);
  }
  assert.not.match(policy, /unsafe|\*|https?:/);
  assert.is(headers['x-content-type-options'], 'nosniff');
  assert.is(headers['referrer-policy'], 'no-referrer');
  assert.is(headers['content-type'], 'text/html; charset=utf-8');
  assert.not.match(
    text,
    /<script(?![^>]* src="page\/)|<style|style=| on[a-z]+=|https?:/,
    'nothing inline, nothing from elsewhere',
  );
});

test('each file that the page names is there, by a relative address', () => {
  const names = [...get('index.html').text.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, name = '']) => name);
  assert.ok(names.length >= 3);
  for (const name of names) {
    assert.match(name, /^page\/[a-z]+\.[a-z]+$/);
    assert.ok(get(name.slice('page/'.length)).text.length > 0, name);
  }
  const scripts = new Set(['main.js']);
  for (const script of scripts) {
    const { text, headers } = get(script);
    assert.is(headers['content-type'], 'text/javascript; charset=utf-8');
    assert.not.match(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/, script);
    for (const [, name = ''] of text.matchAll(/^import .* from '([^']+)';$/gm)) {
      assert.match(name, /^\.\/[a-z-]+\.js$/);
      scripts.add(name.slice(2));
    }
  }
  assert.ok(scripts.size > 10);
});

test('the public URL stands in the page as text', () => {
  assert.match(
    get('index.html', {}, 'https://a.example/"><script>').text,
    'content="https://a.example/&#34;&#62;&#60;script&#62;"',
  );
});

test('a file that the browser has is not sent again', () => {
  const { etag = '' } = get('main.js').headers;
  const again = get('main.js', { 'if-none-match': etag });
  assert.equal([again.status, again.text], [304, '']);
});

test('other files of the folder and of the machine are not served', () => {
  for (const name of ['tsconfig.json', '../page.ts', '..', '.', 'x.js', '%2e%2e%2fpage.ts', 'toString', '__proto__']) {
    assert.throws(
      () => get(name),
      (error: unknown) => error instanceof ImageBuilderError && error.code === 'request.not_found',
      name,
    );
  }
});

test('paths of the function have a bounded number of templates', () => {
  const templates: Readonly<Record<string, string>> = {
    ...{
      '/': '/',
      '//': '/',
      '/page': '/page',
      '/page/': '/page',
      '/events': '/events',
      '/openapi.json': '/openapi.json',
    },
    ...{ '/page/main.js': '/page/{file}', '/page/page/main.js': '/page/{file}', '/page/page': 'other' },
    ...{ '/page/x/y': 'other', '/page/page/page/x': 'other', '/events/x': 'other', '/x': 'other' },
  };
  for (const [path, template] of Object.entries(templates)) assert.is(pathOf(path), template, path);
});

test.run();
