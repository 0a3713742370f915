import { upTo } from '../text.ts';

/** The lines in which apt says what it would do, and why not. */

/** The changes that apt would make. */
export interface InstallPlan {
  /** Packages to install or upgrade, by name. */
  readonly install: readonly string[];
  /** Packages to remove, because they conflict with the requested ones. */
  readonly remove: readonly string[];
  /** The packages that apt takes for virtual ones, by their names: for one with a single provider. */
  readonly instead: ReadonlyMap<string, string>;
}

/** The packages under the headings of a plan, and `Note, selecting 'a' instead of 'b'`. */
export function parsePlan(lines: readonly string[]): InstallPlan {
  const names = (headings: readonly RegExp[]) => headings.flatMap((heading) => listedNames(lines, heading));
  const instead = lines.flatMap((line): [string, string][] => {
    const [, taken = '', asked = ''] = /^Note, selecting '([^']+)' instead of '([^']+)'/.exec(line) ?? [];
    return asked === '' ? [] : [[asked, taken]];
  });
  return { install: names(installed), remove: names(removed), instead: new Map(instead) };
}

const installed = [
  /^The following NEW packages will be installed:/,
  /^The following packages will be upgraded:/,
  /^The following packages will be DOWNGRADED:/,
];
const removed = [/^The following packages will be REMOVED:/];

/** The packages under a heading such as `The following held packages will be changed:`. */
export function listedNames(lines: readonly string[], heading: RegExp): string[] {
  const start = lines.findIndex((line) => heading.test(line)) + 1;
  if (start === 0) return [];
  // A warning goes over two lines before its list.
  const first = lines.findIndex((line, index) => index >= start && line.startsWith('  '));
  const end = lines.findIndex((line, index) => index >= first && !line.startsWith('  '));
  const listed = first === -1 ? [] : lines.slice(first, end === -1 ? undefined : end);
  // `tar (due to dpkg)`: only the first is one. A star stands behind those that are purged.
  return listed.flatMap((line) => {
    const words = line.split(' ').map((word) => (word.endsWith('*') ? word.slice(0, -1) : word));
    return words.filter((word, index) => /^[a-z0-9][a-z0-9+.:-]*$/.test(word) && words[index - 1] !== '(due');
  });
}

/** Names that stand at the beginning of a line, with a colon: those `apt-cache policy` knows. */
export function policyNames(lines: readonly string[]): string[] {
  return lines.flatMap((line) => /^([a-z0-9]\S*):$/.exec(line)?.[1] ?? []);
}

/** By name: `Package x is a virtual package provided by:` and the indented names below. */
export function virtualPackages(lines: readonly string[]): Map<string, string[]> {
  const providers = new Map<string, string[]>();
  let open: string[] | null = null;
  for (const line of lines) {
    const name = /^Package (\S+) is a virtual package provided by/.exec(line)?.[1];
    if (name !== undefined) {
      open = providers.has(name) ? null : [];
      if (open !== null) providers.set(name, open);
    } else if (/^ {2}\S/.test(line)) {
      open?.push(upTo(line.trim(), ' '));
    } else {
      open = null;
    }
  }
  return providers;
}

/** By name: `Package x is not available`, and the names below `However the following packages replace it:`. */
export function replacements(lines: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  let name: string | undefined;
  for (const [index, line] of lines.entries()) {
    name = /^Package (\S+) is not available/.exec(line)?.[1] ?? name;
    if (name === undefined || !line.startsWith('However the following packages replace it:')) continue;
    found.set(name, (lines[index + 1] ?? '').trim().split(' '));
    name = undefined;
  }
  return found;
}

/** `The following packages have unmet dependencies:` (`Unsatisfied dependencies:` since apt 3) and what follows. */
export function unmetDependencies(lines: readonly string[]): Map<string, string> {
  const unmet = new Map<string, string>();
  const start = lines.findIndex((line) => /unmet dependencies:$|^Unsatisfied dependencies:$/.test(line.trim()));
  if (start === -1) return unmet;
  let name: string | undefined;
  for (const line of lines.slice(start + 1)) {
    if (!/^\s/.test(line)) break;
    const entry = /^ (\S+) : (.*)$/.exec(line);
    if (entry?.[1] !== undefined) name = entry[1];
    const text = (entry?.[2] ?? line).replace(/\s+/g, ' ').trim();
    if (name === undefined || text === '') continue;
    const before = unmet.get(name);
    unmet.set(name, before === undefined ? text : `${before}, ${text}`);
  }
  return unmet;
}

/** Packages of which a text says `name:architecture=version is selected for install`. */
export function selectedNames(text: string): Set<string> {
  const words = text.split(' ');
  return new Set(
    words.flatMap((word, index) => {
      const selected = words
        .slice(index + 1, index + 5)
        .join(' ')
        .startsWith('is selected for install');
      const name = /^([^:=]+):[a-z0-9-]+=./.exec(word)?.[1];
      return selected && name !== undefined ? [name] : [];
    }),
  );
}

/** `name` or `name:arch` of a specification. */
export function bareName(specification: string): string {
  return upTo(specification, '=', '/');
}

/** The name without `:arch`. */
export function withoutArchitecture(name: string): string {
  return upTo(name, ':');
}
