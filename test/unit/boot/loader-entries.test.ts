import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseExtlinux, parseLoaderEntry } from '#lib/boot/loader-entries.ts';

/** Menus of an image may be of any length: more words than a call of JavaScript takes as arguments. */
const count = 300_000;

test('an entry with very many initial ramdisks and words is read', () => {
  const many = ' /a'.repeat(count);
  const entry = parseLoaderEntry(`linux /vmlinuz\ninitrd${many}\noptions${many}\n`);
  assert.is(entry.kernel, '/vmlinuz');
  assert.is(entry.initrds.length, count);
  assert.is(entry.arguments.length, count);
});

test('a menu of extlinux with very many initial ramdisks and words is read', () => {
  const initrds = Array(count).fill('a').join(',');
  const [entry] = parseExtlinux(`label x\ninitrd ${initrds}\nappend${' b'.repeat(count)} initrd=${initrds}\n`, '/boot');
  assert.ok(entry);
  assert.is(entry.initrds.length, 2 * count);
  assert.is(entry.initrds.at(-1), '/boot/a');
  assert.is(entry.arguments.length, count + 1);
});

test.run();
