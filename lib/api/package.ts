import { z } from 'zod';

/**
 * A package as apt-get install takes it: a package name by Debian policy 5.6.1 (at least two characters, lower case),
 * optionally `:architecture`, and then either `=version` (policy 5.6.12) or `/suite`. No package's name ends with "-",
 * by which apt-get would take it for one to remove.
 */
export const PackageSpecification = z
  .string()
  .max(256)
  .regex(
    /^[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9]([a-z0-9-]*[a-z0-9])?)?(=([0-9]+:)?[0-9][A-Za-z0-9.+~-]*|\/[A-Za-z][A-Za-z0-9.+-]*)?$/,
    { error: ({ input }) => specificationFault(String(input)) },
  )
  // No archive has a package `ppa` of an architecture that is called as an owner.
  .refine((text) => !text.startsWith('ppa:'), { error: ({ input }) => specificationFault(String(input)) });

/** The forms that apt-get takes beside these, each with the way to write the same here. */
const others: readonly (readonly [RegExp, string])[] = [
  [/^[a-z0-9][a-z0-9+.:-]*-$/, 'is apt-get’s way to remove a package; packages are removed only where they conflict'],
  [/^[a-z0-9][a-z0-9+.-]*\^$/, 'is a task of apt-get; list its packages, or the task-… package that stands for it'],
  [/^[a-z0-9][a-z0-9+.:-]*[*?[\]^$|()]/, 'is a pattern; list the packages by their names'],
  [/^[?~][a-zA-Z!]/, 'is a pattern of apt; list the packages by their names'],
  [/^(\.{0,2}\/|[a-z]+:\/\/)|\.deb$/, 'is a file; only packages of repositories are installed: put it into a PPA'],
  [/^[a-z0-9][a-z0-9+.:-]*[=/]$/, 'ends before the version or the suite'],
  [/^[^=/]*[=/].*[*?]/, 'has a pattern in place of a version or suite; give all of it'],
  [/[<>]/, 'has a range of versions, which apt-get does not take; give one version after "="'],
  [/^ppa:/i, 'is a PPA, which belongs into ppa_list'],
  [/^[a-z0-9+.:-]*[A-Z]/, 'has a capital letter; names of packages have none'],
];

const forms = 'must be a Debian package name, optionally with ":arch" and "=version" or "/suite"';

function specificationFault(text: string): string {
  const found = others.find(([pattern]) => pattern.test(text));
  return found === undefined ? forms : `${JSON.stringify(text)} ${found[1]}; it ${forms}`;
}

/** A package by its name alone, optionally with `:arch`. */
export const PackageName = PackageSpecification.refine((text) => !/[=/]/.test(text), {
  error: 'must be a package name without a version or suite',
});

/** Architectures of Debian, Ubuntu and Debian's ports. */
const architectures = [
  ...['amd64', 'arm64', 'armel', 'armhf', 'i386', 'loong64', 'mips64el', 'mipsel', 'ppc64el', 'riscv64', 's390x'],
  ...['alpha', 'hppa', 'hurd-amd64', 'hurd-i386', 'ia64', 'm68k', 'powerpc', 'ppc64', 'sh4', 'sparc64', 'x32'],
] as const;
export const Architecture = z.enum(architectures, {
  error: `must be an architecture that Debian has packages for: ${architectures.join(', ')}`,
});
