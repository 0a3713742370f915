import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { compareTree, parseTreeListing } from '#lib/guest/tree-changes.ts';

const parse = (text: string) => parseTreeListing(Buffer.from(text, 'latin1'));

test('changes are in the order of the base, new files behind them, and what is covered is left out', () => {
  const members = [
    'usr',
    'usr/b',
    'usr/a',
    'etc',
    'etc/\xff\n',
    'dev',
    'dev/null',
    'var',
    'var/cache',
    'var/cache/x',
    'old',
  ];
  const listing = parse(
    [
      ...[
        'm /var/cache',
        'm /proc',
        'c .',
        'u ./usr',
        'c ./usr/a',
        'c ./usr/b',
        'c ./etc',
        'u ./etc/\xff\n',
        'u ./var',
      ],
      ...['c ./var/cache', 'c ./var/cached', 'c ./etc/new\nline', 'c ./dev', ''],
    ].join('\0'),
  );
  assert.equal(compareTree(listing, members), {
    changed: ['usr/b', 'usr/a', 'etc', '', 'etc/new\nline', 'var/cached'],
    gone: ['old'],
  });
});

test('a listing of another form is a fault of the guest', () => {
  for (const text of ['c ./a', 'x ./a\0', 'c /a\0', 'm a\0', '\0', 'c\0']) {
    assert.throws(
      () => parse(text),
      (error: unknown) => error instanceof ImageBuilderError && error.code === 'guest.failed',
    );
  }
});

test.run();
