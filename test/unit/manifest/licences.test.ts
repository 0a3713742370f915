import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { allOf, parseLicences, readLicences } from '#lib/manifest/licences.ts';
import { licencesIn } from '../../bills/spdx.ts';
import { holds } from '../holds.ts';

/** Licences of Debian's copyright files as expressions of SPDX. */

const expressions = (...statements: readonly string[]) =>
  parseLicences(statements)?.map(({ expression }) => expression) ?? null;

function licenceOf(file: string | Uint8Array): string | null {
  const licences = readLicences(new Map([['x', Buffer.from(file)]])).get('x');
  return licences === undefined ? null : allOf(licences);
}

const header = 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n';

test('Debian’s names become SPDX’s ids where these surely mean the same', () => {
  const known = {
    'GPL-2': 'GPL-2.0-only',
    'GPL-2.0+': 'GPL-2.0-or-later',
    'gpl-3+': 'GPL-3.0-or-later',
    'LGPL-2.1+': 'LGPL-2.1-or-later',
    'GFDL-NIV-1.3+': 'GFDL-1.3-no-invariants-or-later',
    'AGPL-3': 'AGPL-3.0-only',
    'GPL-2.0-only': 'GPL-2.0-only',
    Expat: 'MIT',
    'BSD-3-clause': 'BSD-3-Clause',
    'Apache-2': 'Apache-2.0',
    Artistic: 'Artistic-1.0-Perl',
    CC0: 'CC0-1.0',
    zlib: 'Zlib',
    'LPPL-1.3c+': 'LPPL-1.3c+',
    'GPL-2 with Classpath exception': 'GPL-2.0-only WITH Classpath-exception-2.0',
    'Apache-2.0 with LLVM-exception': 'Apache-2.0 WITH LLVM-exception',
  };
  for (const [name, id] of Object.entries(known)) assert.equal(expressions(name), [id]);
});

test('names that may mean several licences, exceptions and phrases stay what they are', () => {
  const unknown = {
    GPL: 'LicenseRef-gpl',
    BSD: 'LicenseRef-bsd',
    'GPL-9+': 'LicenseRef-gpl-9-plus',
    'public-domain': 'LicenseRef-public-domain',
    'Linux-syscall-note': 'LicenseRef-linux-syscall-note',
    'Classpath-exception-2.0': 'LicenseRef-classpath-exception-2.0',
    'GPL-2+ with OpenSSL exception': 'LicenseRef-gpl-2-plus-with-openssl-exception',
    'GPL with Font exception': 'LicenseRef-gpl-with-font-exception',
    'MPL-1.1, GPL-2+ or Expat': 'LicenseRef-mpl-1.1--gpl-2-plus-or-expat',
    'and or': 'LicenseRef-and-or',
    'Expat or': 'LicenseRef-expat-or',
    'ä\u001b[1m\u202e/ö': 'LicenseRef----',
    'with exception': 'LicenseRef-with-exception',
  };
  for (const [name, reference] of Object.entries(unknown)) {
    assert.equal(expressions(name), [reference]);
    assert.is(parseLicences([name])?.[0]?.unknown[0]?.reference, reference);
  }
});

test('and binds closer than or, but for a comma in front of it; all licences of a file stand side by side', () => {
  assert.equal(expressions('GPL-1+ or Artistic'), ['GPL-1.0-or-later OR Artistic-1.0-Perl']);
  assert.equal(expressions('Expat  and\tISC', 'ISC'), ['ISC', 'MIT']);
  assert.equal(expressions('ISC or Expat and Zlib'), ['ISC OR (MIT AND Zlib)']);
  assert.equal(expressions('ISC or Expat, and Zlib'), ['ISC OR MIT', 'Zlib']);
  assert.equal(expressions('ISC and Expat, or Zlib And X11'), ['(ISC AND MIT) OR (Zlib AND X11)']);
  assert.is(allOf(parseLicences(['ISC or Expat', 'Zlib']) ?? []), '(ISC OR MIT) AND Zlib');
  assert.is(allOf(parseLicences(['ISC or Expat']) ?? []), 'ISC OR MIT');
});

test('the paragraphs with files are read, and the header, but no texts of licences', () => {
  const files = `${header}License: ISC\n\nFiles: *\nCopyright: me\nLicense: Expat or GPL-2+\n Text.\n .\n License: no\n
License: GPL-2+\n Text.\n\nlicense:Zlib\nFILES: debian/*\nLicense: twice\n`;
  assert.is(licenceOf(files), 'ISC AND (MIT OR GPL-2.0-or-later) AND Zlib');
  assert.is(licenceOf(files.replaceAll('\n', '\r\n')), licenceOf(files));
});

test('another form, a file without a licence and a file without its end tell nothing', () => {
  const known = `${header}\nFiles: *\nLicense: Expat\n\n`;
  assert.is(licenceOf(known), 'MIT');
  for (const file of [
    '',
    `${known}Files: a\nLicense: \u001b[1m\n`,
    header,
    `\n${known.slice(1)}`,
    known.replace('copyright-format', 'x'),
    `This package is free.\n\n${known}`,
    `${known}Files: a\nLicense:\n Text.\n`,
    `${known}Files: a\n`,
    `${known}Files: a\nLicense: ${'x'.repeat(501)}\n`,
    known + Array.from({ length: 201 }, (_, index) => `Files: a\nLicense: odd-${index}\n\n`).join(''),
  ]) {
    assert.is(licenceOf(file), null, file.slice(0, 200));
  }
});

test('text in Latin-1 and bytes of other kinds do no harm', () => {
  const latin1 = Buffer.from(`${header}Upstream-Name: \u00e4\0\n\nFiles: \u00e4\nLicense: \u00e4 or GPL-2\n`, 'latin1');
  assert.is(licenceOf(latin1), 'LicenseRef-- OR GPL-2.0-only');
  const words = fc.constantFrom(
    'GPL-2+',
    'Expat',
    'and',
    'or',
    'with',
    'exception',
    'font',
    ',',
    'ISC,',
    'odd',
    '(',
    ')',
    '+',
  );
  holds(
    fc.property(fc.array(fc.oneof(words, fc.string())), (statement) => {
      const licences = parseLicences([statement.join(' ')]) ?? [];
      if (licences.length === 0) return;
      const references = licencesIn(allOf(licences)).filter((id) => id.startsWith('LicenseRef-'));
      assert.equal(
        references,
        licences.flatMap(({ unknown }) => unknown.map(({ reference }) => reference)),
      );
    }),
  );
});

test('a copyright file of Debian is read', () => {
  const file = readFileSync('/usr/share/doc/base-passwd/copyright');
  assert.match(licenceOf(file) ?? '', /^GPL-2\.0/);
});

test.run();
