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

test('secrets are never written, by key or by value', () => {
  const lines: string[] = [];
  const log = createLog({ write: (line) => lines.push(line), secrets: ['hunter22'] });
  log.warn('failed', { password: 'abc', error: new Error('cannot log in with hunter22'), nested: { token: 'def' } });
  assert.not.match(lines.join(), 'abc');
  assert.not.match(lines.join(), 'def');
  assert.not.match(lines.join(), 'hunter22');
});

test('a URL is shown without credentials, query and fragment', () => {
  assert.is(safeUrl('https://user:secret@host/path?sig=abc#x'), 'https://host/path?…');
  assert.is(safeUrl('no url'), 'URL');
});

test.run();
