import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { digestToken } from '#lib/callers.ts';
import { readTokensFile } from '#lib/config/tokens-file.ts';
import { holds } from '../holds.ts';

const token = (letter: string) => letter.repeat(32);
const faultsOf = (callers: unknown) =>
  readTokensFile(JSON.stringify({ callers })).faults.map(({ path, message }) => `${path} ${message}`);

test('callers are read from YAML with tokens, digests, several of them, and limits', () => {
  const { tokenHolders, plainTokens, faults } = readTokensFile(`
callers:
  - name: lander
    role: submit
    token: ${token('a')}
    limits: { unfinished_builds: 20, builds_an_hour: 60, packages: 0 }
  - name: monitoring
    role: read
    token: [${token('b')}, "sha256:${digestToken(token('c'))}"]
`);
  assert.equal(faults, []);
  assert.equal(plainTokens, [token('a'), token('b')]);
  assert.equal(tokenHolders, [
    {
      name: 'lander',
      role: 'submit',
      limits: { unfinished_builds: 20, builds_an_hour: 60, packages: 0 },
      tokenDigests: [digestToken(token('a'))],
    },
    {
      name: 'monitoring',
      role: 'read',
      limits: {},
      tokenDigests: [digestToken(token('b')), digestToken(token('c'))],
    },
  ]);
});

test('every fault is reported at once, at its place', () => {
  const faults = faultsOf([
    { name: 'a b', role: 'admin', token: 'short' },
    { name: 'anonymous', role: 'submit', token: [], limits: { unfinished_builds: 0, colour: 'red' } },
    { name: 'c', role: 'read', token: ['sha256:XYZ', token('c')], extra: 1 },
    'nonsense',
  ]);
  const places = faults.map((fault) => fault.split(' ', 1)[0]);
  assert.equal(places, [
    'callers.0.name',
    'callers.0.role',
    'callers.0.token.0',
    'callers.1.name',
    'callers.1.token',
    'callers.1.limits.unfinished_builds',
    'callers.1.limits',
    'callers.2.token.0',
    'callers.2',
    'callers.3',
  ]);
});

test('a name or a token that stands twice is a fault, also when it is written as a digest once', () => {
  const faults = faultsOf([
    { name: 'a', role: 'submit', token: token('a') },
    { name: 'a', role: 'submit', token: token('b') },
    { name: 'c', role: 'submit', token: [token('c'), `sha256:${digestToken(token('a'))}`] },
  ]);
  assert.equal(faults, [
    'callers.1.name must be unlike every name before',
    'callers.2.token.1 must be unlike every token before',
  ]);
});

test('an empty file, and one without callers, is a fault', () => {
  for (const text of ['', '\n', '{}', 'callers:', 'callers: []', 'null', '[]', '{ callers: [', '*x', 'callers: *x']) {
    const read = readTokensFile(text);
    assert.ok(read.faults.length > 0, text);
    assert.equal(read.tokenHolders, []);
  }
});

test('no fault quotes the file, however it is broken', () => {
  const secret = token('s');
  const whole = `callers:\n  - name: lander\n    role: submit\n    token: ${secret}\n`;
  const mutation = fc.record({
    at: fc.nat({ max: whole.length }),
    length: fc.nat({ max: 12 }),
    text: fc.constantFrom('', ':', '\n', '  ', '"', '[', '{', '*', '&', '!', '|', '- ', '\t', ': :'),
  });
  const misplaced = [
    `${secret}: lander`,
    `callers: { ${secret}: submit }`,
    `callers: [{ name: "${secret}!", role: ${secret}, ${secret}: 1 }]`,
    `callers: [{ name: x, role: submit, token: "${secret} x", limits: { ${secret}: ${secret} } }]`,
    `callers: *${secret}`,
    `!${secret} x`,
  ];
  const check = (text: string) => {
    const { faults } = readTokensFile(text);
    assert.not.ok(JSON.stringify(faults).includes(secret.slice(0, 12)), text);
    return faults.length;
  };
  for (const text of misplaced) assert.ok(check(text) > 0, text);
  holds(
    fc.property(mutation, ({ at, length, text }) => {
      check(whole.slice(0, at) + text + whole.slice(at + length));
    }),
    { numRuns: 500 },
  );
});

test.run();
