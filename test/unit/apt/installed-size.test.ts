import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseInstalledSize } from '#lib/apt/installed-size.ts';

test('apt’s figure for the size of packages is read, whatever the release', () => {
  for (const [line, bytes] of [
    ['After this operation, 26.6 kB of additional disk space will be used.', 26_600],
    ['After this operation, 1,024 kB of additional disk space will be used.', 1_024_000],
    ['After this operation, 0 B of additional disk space will be used.', 0],
    ['After this operation, 1.5 GB of additional disk space will be used.', 1_500_000_000],
    ['  Space needed: 101 MB / 18.4 GB available', 101_000_000],
    ['Space needed: 5,678 kB / 70.1 GB available', 5_678_000],
  ] as const) {
    assert.is(parseInstalledSize(line), bytes, line);
  }
});

test('lines about anything else, and space that is freed, are none of it', () => {
  for (const line of [
    'After this operation, 26.6 kB disk space will be freed.',
    'Need to get 1,234 kB of archives.',
    'Freed space: 3 MB',
    '',
  ]) {
    assert.is(parseInstalledSize(line), null, line);
  }
});

test.run();
