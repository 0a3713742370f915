import { SPDX } from '@cyclonedx/cyclonedx-library';

/** Names of licences in Debian's copyright files, and SPDX's ids for them. */

/** Debian's names, in small letters, for licences that SPDX calls otherwise. */
const otherNames: ReadonlyMap<string, string> = new Map([
  ['expat', 'MIT'],
  // The text in /usr/share/common-licenses/Artistic.
  ['artistic', 'Artistic-1.0-Perl'],
  ['artistic-1', 'Artistic-1.0-Perl'],
  ['bsd-2', 'BSD-2-Clause'],
  ['bsd-3', 'BSD-3-Clause'],
  ['bsd-4', 'BSD-4-Clause'],
  ['boost-1.0', 'BSL-1.0'],
  ['cc0', 'CC0-1.0'],
  ['zope-2.0', 'ZPL-2.0'],
  ['zope-2.1', 'ZPL-2.1'],
]);

/** Ids of SPDX's exceptions by their names in copyright files, in small letters: `with NAME exception`. */
const exceptions: ReadonlyMap<string, string> = new Map([
  ['bison', 'Bison-exception-2.2'],
  ['classpath', 'Classpath-exception-2.0'],
  ['font', 'Font-exception-2.0'],
  ['libtool', 'Libtool-exception'],
  ['linux-syscall-note', 'Linux-syscall-note'],
  ['llvm', 'LLVM-exception'],
]);

/** The library's list has SPDX's exceptions too, which are no licences. */
const noLicence = /exception|^(linux-syscall-note|gpl-cc-1\.0|shl-2\.[01])$/;

const gnu = /^(gpl|agpl|lgpl|gfdl|gfdl-niv)-([0-9]{1,2})(\.[0-9]{1,2})?(?:\.0)?(\+|-or-later|-only)?$/;

/**
 * The SPDX expression, without operators, for a licence that a copyright file names, such as `GPL-2.0-or-later` for
 * `GPL-2+`. Null where none surely means the same: Debian's `BSD` and `GPL` are many.
 */
export function spdxLicence(name: string): string | null {
  const lower = name.toLowerCase();
  const [, family, major, minor = '.0', rest] = gnu.exec(lower) ?? [];
  if (family !== undefined) {
    const isLater = rest === '+' || rest === '-or-later';
    const [base = '', kind = ''] = family === 'gfdl-niv' ? ['gfdl', '-no-invariants'] : [family];
    return SPDX.fixupSpdxId(`${base}-${major}${minor}${kind}-${isLater ? 'or-later' : 'only'}`) ?? null;
  }
  const isLater = lower.endsWith('+');
  const bare = isLater ? lower.slice(0, -1) : lower;
  if (noLicence.test(bare)) return null;
  // Zeros at the end of a version mean nothing there.
  const id = otherNames.get(bare) ?? SPDX.fixupSpdxId(bare) ?? SPDX.fixupSpdxId(`${bare}.0`);
  if (id === undefined) return null;
  return isLater ? `${id}+` : id;
}

/** SPDX's id for `with NAME exception`, or for its own id of it; null where none surely means the same. */
export function spdxException(name: string): string | null {
  const lower = name.toLowerCase();
  const known = exceptions.get(lower);
  if (known !== undefined) return known;
  return noLicence.test(lower) ? (SPDX.fixupSpdxId(lower) ?? null) : null;
}
