import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseChanges } from '#lib/apt/planned.ts';

test('lines of a simulation become packages with their versions, whatever else stands there', () => {
  const lines = [
    'Reading package lists...',
    'Remv exim4 [4.96-15]',
    'Inst libc6 [2.36-9] (2.36-9+deb12u14 Debian:12.14/stable, Debian-Security:12/stable [amd64]) [libc6:i386 on libc6:amd64]',
    'Inst gcc-12-base:i386 (12.2.0-14 Debian:12/stable [i386])',
    'Inst tzdata (2025b-0 Debian:12/stable-updates [all]) []',
    'Conf tzdata (2025b-0 Debian:12/stable-updates [all])',
    'Installed',
  ];
  assert.equal(parseChanges(lines), {
    install: [
      { name: 'libc6', architecture: 'amd64', version: '2.36-9+deb12u14', previous_version: '2.36-9' },
      { name: 'gcc-12-base', architecture: 'i386', version: '12.2.0-14', previous_version: null },
      { name: 'tzdata', architecture: 'all', version: '2025b-0', previous_version: null },
    ],
    remove: [{ name: 'exim4', version: '4.96-15' }],
  });
});

test.run();
