import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { check } from '#lib/api/faults.ts';
import { BuildRequest, parseBuildRequest } from '#lib/api/request.ts';

/** The fields of a request about packages: answers for debconf, architectures, downgrades and holds. */

const faultsOf = (members: object) => check(BuildRequest, { ...exampleRequest, ...members }).faults ?? [];
const faultOf = (members: object) =>
  faultsOf(members)
    .map(({ path, message }) => `${path} ${message}`)
    .join('\n');

test('answers for debconf are lines or objects, and values are kept as they are', () => {
  const { debconf_selections: selections } = parseBuildRequest({
    ...exampleRequest,
    debconf_selections: [
      'postfix postfix/main_mailer_type select Internet Site',
      'mysql-server\tmysql-server/root_password password   p "§$% ',
      'd-i netcfg/choose_interface seen true',
      'tzdata tzdata/Zones/Europe select',
      { owner: 'a', question: 'b/c', type: 'string', value: '' },
    ],
  });
  assert.equal(
    selections.map(({ owner, question, type, value }) => [owner, question, type, value]),
    [
      ['postfix', 'postfix/main_mailer_type', 'select', 'Internet Site'],
      ['mysql-server', 'mysql-server/root_password', 'password', '  p "§$% '],
      ['d-i', 'netcfg/choose_interface', 'seen', 'true'],
      ['tzdata', 'tzdata/Zones/Europe', 'select', ''],
      ['a', 'b/c', 'string', ''],
    ],
  );
});

test('hostile answers are precise faults that show no value', () => {
  const selection = (value: unknown) => ({ owner: 'a', question: 'b/c', type: 'password', value });
  for (const [entry, reason] of [
    ['a b/c password secret\nroot x/y string evil', /its value must be one line without control characters/],
    ['a b/c password secret\u0000', /its value must be one line/],
    ['a b/c secret-type secret', /its type must be a type of debconf: string, boolean/],
    ['a b/c', /must be a line "owner question type value"/],
    ['# secret', /must be a line|its/],
    ['a;reboot b/c string secret', /its owner must be the name of the package/],
    ['a $(secret) string x', /its question must be the name of a question/],
    ['', /must be a line/],
    [`a b/c string ${'secret'.repeat(2_000)}`, /at most 5000 characters/],
    [selection(`secret\r`), /must be one line/],
    [selection('secret'.repeat(1_000)), /must have at most 4096 characters/],
    [selection(5), /must be a text/],
    [{ owner: 'a', question: 'b/c', type: 'password' }, /is missing/],
    [{ ...selection('secret'), secret: 1 }, /with no others|is not known here/],
    [null, /must be a line/],
    [['secret'], /must be a line|is missing/],
  ] as const) {
    const faults = faultsOf({ debconf_selections: ['a b/c string x', entry] });
    assert.is(faults.length, 1, JSON.stringify(entry));
    assert.match(faults[0]?.path ?? '', /^\$\.debconf_selections\[1\](\.value|\.secret)?$/);
    assert.match(faults[0]?.message ?? '', reason);
    assert.not.match(faults[0]?.message ?? '', /secret(?!-type)/);
  }
  assert.match(faultOf({ debconf_selections: 'a b/c string x' }), /\$\.debconf_selections must be a list/);
  assert.match(faultOf({ debconf_selections: Array(1_025).fill('a b/c string x') }), /at most 1024 answers/);
});

test('architectures, downgrades and holds are checked', () => {
  for (const [members, reason] of [
    [
      { foreign_architectures: ['i386', 'i387'] },
      /\$\.foreign_architectures\[1\] must be an architecture that Debian has/,
    ],
    [{ foreign_architectures: ['i386\n'] }, /\[0\] must be an architecture/],
    [{ foreign_architectures: Array(9).fill('i386') }, /must hold at most 8/],
    [{ allow_downgrades: 'yes' }, /\$\.allow_downgrades must be true or false/],
    [{ hold_packages: ['hello', 'hello=1'] }, /\$\.hold_packages\[1\] must be a package name without a version/],
    [{ hold_packages: ['hello hold\nx'] }, /\$\.hold_packages\[0\] must be a Debian package name/],
    [{ hold_packages: Array(1_025).fill('hello') }, /at most 1024 packages/],
  ] as const) {
    assert.match(faultOf(members), reason);
  }
  const given = { foreign_architectures: ['i386'], allow_downgrades: true, hold_packages: ['libc6:i386', 'g++'] };
  assert.is(faultOf(given), '');
});

test.run();
