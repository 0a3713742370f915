import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { safeUrl } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';

test('a line is one JSON object with its fields, and quieter ones are left out', () => {
  const lines: string[] = [];
  const log = createLog({ write: (line) => lines.push(line), fields: { worker: 'a' } }).with({ build_id: 'b' });
  log.debug('not shown');
  log.info('step began', { step: 'fetch' });
  assert.is(lines.length, 1);
  const entry = JSON.parse(lines[0] ?? '');
  assert.equal(
    [entry.level, entry.message, entry.worker, entry.build_id, entry.step],
    ['info', 'step began', 'a', 'b', 'fetch'],
  );
});

test('an audit line is written whatever the least severity is', () => {
  const lines: string[] = [];
  createLog({ level: 'error', write: (line) => lines.push(line) }).audit('call answered', { status: 200 });
  const { level, status } = JSON.parse(lines[0] ?? '');
  assert.equal([level, status], ['audit', 200]);
});

test('secrets are never written, by key or by value', () => {
  const lines: string[] = [];
  const log = createLog({ write: (line) => lines.push(line), secrets: ['hunter22'] });
  log.warn('failed', { password: 'abc', error: new Error('cannot log in with hunter22'), nested: { token: 'def' } });
  assert.not.match(lines.join(), 'abc');
  assert.not.match(lines.join(), 'def');
  assert.not.match(lines.join(), 'hunter22');
});

test('a secret is not written either where JSON spells it differently', () => {
  const lines: string[] = [];
  const log = createLog({ write: (line) => lines.push(line), secrets: ['pa"ss\\word'] });
  log.warn('refused', { reason: 'the password pa"ss\\word is wrong' });
  assert.is(JSON.parse(lines[0] ?? '').reason, 'the password [secret] is wrong');
});

test('values that JSON cannot hold are written all the same, and secrets are kept out of them too', () => {
  const lines: string[] = [];
  const circular: Record<string, unknown> = { note: 'hunter22', token: 'abc' };
  circular.self = circular;
  const log = createLog({ write: (line) => lines.push(line), secrets: ['hunter22'] });
  log.error('failed', { error: new Error('the reason', { cause: circular }), size: 1n, build_id: 'b' });
  const { error, size, build_id } = JSON.parse(lines[0] ?? '');
  assert.equal([error.message, size, build_id], ['the reason', '1', 'b']);
  assert.equal(error.cause, { note: '[secret]', token: '[secret]', self: '[again]' });
});

test('a URL is shown without credentials, query and fragment', () => {
  assert.is(safeUrl('https://user:secret@host/path?sig=abc#x'), 'https://host/path?…');
  assert.is(safeUrl('no url'), 'URL');
});

test.run();
