import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatPpa, Ppa } from '#lib/api/ppa.ts';

test('every spelling that add-apt-repository takes is the same PPA', () => {
  for (const [text, canonical] of [
    ['ppa:owner/name', 'ppa:owner/name'],
    ['PPA:owner/name', 'ppa:owner/name'],
    ['ppa:~owner/name', 'ppa:owner/name'],
    ['ppa:owner', 'ppa:owner/ppa'],
    ['ppa:owner/ubuntu/name', 'ppa:owner/name'],
    ['ppa:~gnome3-team/c++.9-x', 'ppa:gnome3-team/c++.9-x'],
  ] as const) {
    assert.is(formatPpa(Ppa.parse(text)), canonical, text);
  }
});

test('everything else is refused, and the message shows the forms', () => {
  for (const text of [
    'owner/name',
    'ppa:',
    'ppa:/name',
    'ppa:owner/',
    'ppa:owner/ubuntu',
    'ppa:owner/debian/name',
    'ppa:owner/ubuntu/a/b',
    'ppa:owner/..',
    'ppa:../name',
    'ppa:Owner/name',
    'ppa:owner/name ',
    'ppa:owner/na_me',
    'ppa:~~owner/name',
    'ppa:owner/name\n',
    `ppa:owner/${'a'.repeat(300)}`,
  ]) {
    const result = Ppa.safeParse(text);
    assert.not.ok(result.success, text);
  }
  assert.match(Ppa.safeParse('ppa:a/b/c').error?.message ?? '', 'ppa:owner/name');
});

test.run();
