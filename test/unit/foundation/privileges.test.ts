import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hindrance } from '#lib/privileges.ts';

const range = { first: 1_879_048_192, last: 1_895_825_407 };
const whole = '         0          0 4294967295\n';
const all = { status: 'CapEff:\t000001ffffffffff\n', userIds: whole, groupIds: whole };
const why = (changes: Partial<typeof all>) => String(hindrance(range, { ...all, ...changes }));

test('root has its tools run as somebody else where it may, and otherwise says why not', () => {
  assert.is(why({}), 'null');
  // Docker's capabilities, and none at all.
  assert.is(why({ status: 'CapEff:\t00000000a80425fb\n' }), 'null');
  assert.match(why({ status: 'CapEff:\t0000000000000000\n' }), 'CAP_SETUID');
  assert.match(why({ status: '' }), 'CAP_KILL');
  // As in a container of a user without rights.
  const few = '0 1000 1\n1 100000 65536\n';
  assert.match(why({ userIds: few }), 'set IMAGEBUILDER_UNPRIVILEGED_IDS');
  assert.match(why({ groupIds: few }), 'none of this user namespace');
  assert.match(why({ userIds: 'noise' }), 'none of this user namespace');
  const half = `0 0 ${range.last}\n`;
  assert.match(why({ userIds: half }), 'none of this user namespace');
});

test.run();
