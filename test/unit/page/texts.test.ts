import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { errorTable } from '#lib/errors.ts';
import { adviceFor } from '../../../functions/status/page/advice.js';
import { filterFragment, readFragment } from '../../../functions/status/page/fragment.js';
import { fieldOf, readRequest } from '../../../functions/status/page/request.js';
import {
  formatBytes,
  formatMoment,
  formatSeconds,
  formatSpan,
  logLine,
  webAddress,
} from '../../../functions/status/page/text.js';

/** Texts of the live page. */

test('times and sizes are short', () => {
  assert.equal([0, 7.9, 61, 3_723].map(formatSeconds), ['0:00', '0:07', '1:01', '1:02:03']);
  assert.equal([40, 9_990, 61_000, 7_260_000].map(formatSpan), ['0.0 s', '10 s', '1 min 1 s', '2 h 1 min']);
  assert.equal([0, 1023, 1536, 228_964_864].map(formatBytes), ['0 B', '1023 B', '1.5 KiB', '218 MiB']);
  const now = new Date(2026, 0, 2, 12, 0, 0);
  assert.is(formatMoment(new Date(2026, 0, 2, 9, 5, 1).toISOString(), now), '09:05:01');
  assert.is(formatMoment(new Date(2026, 0, 1, 9, 5, 1).toISOString(), now), '2026-01-01 09:05:01');
});

test('only addresses on the web become links', () => {
  assert.is(webAddress('https://swift.example/a?b=1'), 'https://swift.example/a?b=1');
  assert.is(webAddress('http://swift.example'), 'http://swift.example/');
  for (const other of [
    'javascript:alert(1)',
    'data:text/html,x',
    'file:///etc/passwd',
    ' //x',
    'x',
    '',
    'blob:https://x',
  ]) {
    assert.is(webAddress(other), null, other);
  }
});

test('a fragment names a view or a filter, and whatever else it says is the whole list', () => {
  const id = '0f3c9f4e-5f0a-4c7e-9a51-0d9f6a4f3c55';
  assert.equal(readFragment(`#build/${id.toUpperCase()}`), { view: 'build', id });
  assert.equal(readFragment('#new'), { view: 'new' });
  const filter = { state: 'failed', ticket: 'a & b#?=%', series: 'noble' };
  assert.equal(readFragment(filterFragment(filter)), { view: 'list', filter });
  const none = { state: '', ticket: '', series: '' };
  for (const text of ['', '#', filterFragment(none), '#build/../x', '#?state=<b>', '#build/%', '#toString']) {
    assert.equal(readFragment(text), { view: 'list', filter: none }, text);
  }
});

test('a line of a log has the time of day of its reader', () => {
  const moment = new Date(2026, 0, 2, 9, 5, 1, 7).toISOString();
  assert.is(logLine(`${moment} install  Unpacking <b>`), '09:05:01 install  Unpacking <b>');
  for (const other of ['', 'Unpacking', `${moment}x`, `x ${moment} y`]) assert.is(logLine(other), other);
});

test('every error says who has to act', () => {
  for (const [code, row] of Object.entries(errorTable)) {
    const { party, steps } = adviceFor({ code, ...row });
    assert.ok(party.length > 5, code);
    if (row.retryable) assert.match(steps, 'Trying the same again may help.', code);
  }
  assert.match(adviceFor({ code: 'ppa.series', fault: 'request', retryable: false }).steps, 'series');
});

test('the fields of the form make the request, and faults of the API find their fields', () => {
  const values: Record<string, string | boolean> = {
    ticket_id: ' T-1 ',
    url_list: 'http://a\n\n http://b \n',
    disk_size: '',
    flag: true,
    inverted: true,
  };
  const request = readRequest(
    [
      { name: 'ticket_id', label: '', help: '', kind: 'text' },
      { name: 'url_list', label: '', help: '', kind: 'lines' },
      { name: 'disk_size', label: '', help: '', kind: 'text' },
      { name: 'flag', label: '', help: '', kind: 'flag' },
      { name: 'inverted', label: '', help: '', kind: 'flag', inverted: true },
    ],
    (name) => values[name] ?? '',
  );
  assert.equal(request, {
    ...{ ticket_id: 'T-1', flag: true, inverted: false },
    base_image: { image_type: 'cloud', url_list: ['http://a', 'http://b'] },
  });
  assert.equal(fieldOf({ path: '$.ticket_id', message: 'is missing' }), { name: 'ticket_id', text: 'is missing' });
  assert.equal(fieldOf({ path: '$.base_image.url_list[1]', message: 'must be a URL' }), {
    ...{ name: 'url_list', text: 'line 2 must be a URL' },
  });
  assert.equal(fieldOf({ path: '$.debconf_selections[0].type', message: 'is missing' }).name, 'debconf_selections');
  assert.is(fieldOf({ path: 'X-Callback-Url', message: 'must be a URL' }).name, null);
  assert.is(fieldOf({ path: '$', message: 'must be an object' }).name, null);
});

test.run();
