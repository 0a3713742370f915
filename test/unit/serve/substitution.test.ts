// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { substitute } from '#lib/serve/substitution.ts';

const environment = { REGISTRY: 'registry.example/me', EMPTY: '', default_var: 'foo' };

test('variables and defaults are substituted as faas-cli does', () => {
  const cases: [string, string][] = [
    ['image: ${REGISTRY}/x', 'image: registry.example/me/x'],
    ['${REGISTRY:-local}', 'registry.example/me'],
    ['${MISSING:-local}:latest', 'local:latest'],
    ['${EMPTY:-local}', 'local'],
    ['${EMPTY-local}', 'local'],
    ['${MISSING:=local}', 'local'],
    ['${MISSING=local}', 'local'],
    ['${MISSING}', ''],
    ['${MISSING:-}', ''],
    ['${MISSING:-http://host:80/a b}', 'http://host:80/a b'],
    ['something ${var=${default_var}}', 'something foo'],
    ['${var=prefix${default_var}-suffix}', 'prefixfoo-suffix'],
    ['$${REGISTRY}', '${REGISTRY}'],
    ['something $${var=${default_var}}', 'something ${var=foo}'],
    ['$REGISTRY costs 5$', '$REGISTRY costs 5$'],
    ['{}} ${REGISTRY}}', '{}} registry.example/me}'],
  ];
  for (const [text, expected] of cases) assert.is(substitute(text, environment), expected, text);
});

test('substituted text is not substituted again', () => {
  assert.is(substitute('${A}', { A: '${B}', B: 'no' }), '${B}');
});

test('a form that only faas-cli understands is refused with its line', () => {
  for (const text of ['a\n\n${REGISTRY^^}', 'a\n\n${REGISTRY/x/y}', 'a\n\n${MISSING:-open', 'a\n\n${}', 'a\n\n${1}']) {
    assert.throws(
      () => substitute(text, environment),
      (error: Error) => error.message.startsWith('line 3: only'),
      text,
    );
  }
});

test.run();
