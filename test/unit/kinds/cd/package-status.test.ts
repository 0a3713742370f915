import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parsePackageStatus } from '#lib/kinds/cd/package-status.ts';

const stanza = (name: string, status: string, more = '') =>
  `Package: ${name}\nStatus: ${status}\nArchitecture: amd64\nVersion: 1.0-1\nDescription: one\n  Version: of a line\n${more}\n`;

test('the packages that are installed are those that dpkg has unpacked and configured', () => {
  const text = [
    stanza('jq', 'install ok installed'),
    stanza('held', 'hold ok installed'),
    stanza('gone', 'deinstall ok config-files'),
    stanza('half', 'install ok half-configured'),
  ].join('');
  assert.equal(
    [...parsePackageStatus(text)],
    [
      ['jq', { architecture: 'amd64', version: '1.0-1' }],
      ['held', { architecture: 'amd64', version: '1.0-1' }],
    ],
  );
});

test('packages of several architectures are told apart, and the last stanza needs no end', () => {
  const foreign = 'Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2';
  const found = parsePackageStatus(`${stanza('libc6', 'install ok installed')}${foreign}`);
  assert.equal([...found.keys()], ['libc6', 'libc6:i386']);
  assert.is(found.get('libc6:i386')?.version, '2');
});

test('a text of another form has no packages', () => {
  for (const text of ['', '\n\n', 'Package: x\n', 'Status: install ok installed\nVersion: 1\n', ': :\n']) {
    assert.is(parsePackageStatus(text).size, 0);
  }
});

test.run();
