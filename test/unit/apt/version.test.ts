import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareVersions } from '#lib/apt/version.ts';
import { holds } from '../holds.ts';

/** Each list is in rising order. */
const rising = [
  ['1.0~~', '1.0~~a', '1.0~', '1.0', '1.0-1', '1.0-1ubuntu1', '1.0a', '1.0+b', '1.1'],
  ['0.9.15.4', '1.0.1ubuntu2', '1.0.1ubuntu2.24', '1.1~exp9', '1.1', '1.2.35', '1.4~beta1', '1.5~alpha4', '1.5'],
  ['2.3.9', '2.3.10', '2.4.14', '2.10.0', '3.0.3'],
  ['9:9', '10:0.1'],
  ['1.2-3-4', '1.2-3-10'],
  ['1.99999999999999999998', '1.99999999999999999999'],
];

test('versions known to be in order are found in order', () => {
  for (const versions of rising) {
    for (const [i, left] of versions.entries()) {
      for (const [j, right] of versions.entries()) {
        assert.is(Math.sign(compareVersions(left, right)), Math.sign(i - j), `${left} and ${right}`);
      }
    }
  }
});

test('a missing epoch, a missing revision and leading zeros count as nothing', () => {
  for (const [left, right] of [
    ['0:1.0', '1.0'],
    ['1.0', '1.0-0'],
    ['1.05', '1.5'],
    ['1.', '1.0'],
  ] as const) {
    assert.is(compareVersions(left, right), 0, `${left} and ${right}`);
  }
});

const version = fc.stringMatching(/^([0-9]:)?[0-9][0-9a-zA-Z.+~]{0,6}(-[0-9a-z.+~]{1,4})?$/);

test('the order is total: antisymmetric and transitive', () => {
  holds(
    fc.property(version, version, version, (a, b, c) => {
      assert.is(Math.sign(compareVersions(a, b)), -Math.sign(compareVersions(b, a)) + 0);
      const [low = '', middle = '', high = ''] = [a, b, c].sort(compareVersions);
      assert.ok(compareVersions(low, middle) <= 0 && compareVersions(middle, high) <= 0);
      assert.ok(compareVersions(low, high) <= 0);
    }),
  );
});

test.run();
