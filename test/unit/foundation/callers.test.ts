import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createCallers, digestToken, mayChange, maySee, operator, type Role, type TokenHolder } from '#lib/callers.ts';

const holder = (name: string, tokens: readonly string[], role: Role = 'submit'): TokenHolder => ({
  name,
  role,
  limits: {},
  tokenDigests: tokens.map(digestToken),
});

test('without a token everybody is anonymous and may do everything', () => {
  const callers = createCallers({ token: null, tokenHolders: [] });
  for (const header of [undefined, 'Bearer x', 'nonsense']) assert.is(callers.identify(header)?.name, 'anonymous');
  const caller = callers.identify(undefined);
  assert.ok(caller !== null && mayChange(caller) && maySee(caller, 'somebody'));
});

test('the one token is compared whole and may do everything', () => {
  const { identify } = createCallers({ token: 'sesame', tokenHolders: [] });
  assert.is(identify('Bearer sesame'), operator);
  assert.is(identify('bearer sesame'), operator);
  for (const header of [undefined, '', 'Bearer ', 'Bearer sesam', 'Bearer sesame2', 'Basic sesame', 'sesame']) {
    assert.is(identify(header), null, header);
  }
});

test('each token is its caller’s, and a digest is no token', () => {
  const tokenHolders = [holder('lander', ['one', 'two']), holder('monitoring', ['three'], 'read')];
  const { identify } = createCallers({ token: 'sesame', tokenHolders });
  const names = ['one', 'two', 'three', 'sesame', 'four'].map((token) => identify(`Bearer ${token}`)?.name);
  assert.equal(names, ['lander', 'lander', 'monitoring', 'operator', undefined]);
  assert.is(identify(`Bearer ${digestToken('one')}`), null);
  assert.is(identify(`Bearer sha256:${digestToken('one')}`), null);
});

test('the digest of the empty text admits no caller', () => {
  const { identify } = createCallers({ token: null, tokenHolders: [holder('lander', [''])] });
  for (const header of [undefined, '', 'Bearer', 'Bearer ']) assert.is(identify(header), null);
});

test('submit sees its own, read and operate see all, and read changes nothing', () => {
  const rights = (['submit', 'read', 'operate'] as const).map((role) => {
    const caller = { name: 'me', role, limits: {} };
    return [maySee(caller, 'me'), maySee(caller, 'other'), mayChange(caller)];
  });
  assert.equal(rights, [
    [true, false, true],
    [true, true, false],
    [true, true, true],
  ]);
});

test.run();
