import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { madeAnew, readOwnFiles } from '#lib/guest/own-files.ts';

const one = 'a'.repeat(32);
const other = 'b'.repeat(32);
const outputOf = (...lines: readonly string[]) =>
  ['before', 'own files: begin', ...lines, 'own files: end', ''].join('\n');

test('files of settings and state are read with their digests, also with odd names and below the changes of layers', () => {
  assert.equal(
    readOwnFiles(
      outputOf(`${one}  /etc/own key`, `\\${other}  /etc/back\\\\slash`, `${one}  /run/imagebuilder-changes/srv/a`),
    ),
    { '/etc/own key': one, '/etc/back\\\\slash': other, '/srv/a': one },
  );
  assert.equal(readOwnFiles(outputOf()), {});
});

test('files that could not all be read are none', () => {
  assert.is(readOwnFiles(''), null);
  assert.is(readOwnFiles(outputOf(`${one}  /etc/a`).replace('own files: end', '')), null);
  assert.is(readOwnFiles(outputOf(`${one}  /etc/a`).replace('own files: begin', '')), null);
  assert.is(readOwnFiles(outputOf('md5sum: no such file')), null);
  assert.is(readOwnFiles(outputOf(...Array.from({ length: 2_001 }, (_, index) => `${one}  /etc/${index}`))), null);
});

test('a file that another build has not, or has otherwise, is made anew; those that are taken out or collected are not', () => {
  const none = new Set<string>();
  assert.is(madeAnew({ '/etc/a': one }, { '/etc/a': one, '/etc/b': one }, none), null);
  assert.is(madeAnew({ '/etc/a': one, '/etc/key': one }, { '/etc/a': one, '/etc/key': other }, none), '/etc/key');
  assert.is(madeAnew({ '/var/lib/uuid-1': one }, { '/var/lib/uuid-2': one }, none), '/var/lib/uuid-1');
  assert.is(madeAnew({ '/etc/key': one }, {}, new Set(['/etc/key'])), null);
  assert.is(madeAnew({ '/etc/ld.so.cache': one }, { '/etc/ld.so.cache': other }, none), null);
});

test.run();
