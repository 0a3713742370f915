/** The answer of `apt-cache policy`: which versions of a package there are, where, and which one apt would take. */
export interface PackagePolicy {
  /** Null where it is not installed. */
  readonly installed: string | null;
  /** The version that apt would install by itself; null where it would take none. */
  readonly candidate: string | null;
  /** Versions that a repository has, as apt lists them: newest first. */
  readonly versions: readonly PackageVersion[];
}

export interface PackageVersion {
  readonly version: string;
  /** apt_preferences(5): below 0, apt never installs it by itself. */
  readonly priority: number;
  /** Where it is, as apt names it: `bookworm/main`. */
  readonly places: readonly string[];
}

interface OpenVersion {
  readonly version: string;
  /** Of the version itself; 0 where apt before 1.1 leaves that to the places. */
  readonly own: number;
  readonly priorities: number[];
  readonly places: string[];
}

interface OpenPolicy {
  installed: string | null;
  candidate: string | null;
  readonly versions: OpenVersion[];
}

/** Parses `apt-cache policy NAME…`, by name, with `:architecture` where apt writes one. */
export function parsePolicies(lines: readonly string[]): Map<string, PackagePolicy> {
  const open = new Map<string, OpenPolicy>();
  let policy: OpenPolicy | undefined;
  for (const line of lines) {
    const name = /^([a-z0-9]\S*):$/.exec(line)?.[1];
    if (name !== undefined) {
      policy = { installed: null, candidate: null, versions: [] };
      open.set(name, policy);
    } else if (policy !== undefined) {
      readPolicyLine(line, policy);
    }
  }
  return new Map([...open].map(([name, found]) => [name, { ...found, versions: found.versions.flatMap(closed) }]));
}

function readPolicyLine(line: string, policy: OpenPolicy): void {
  const [, field, value = ''] = /^ {2}(Installed|Candidate): (\S+)$/.exec(line) ?? [];
  if (field === 'Installed') policy.installed = value === '(none)' ? null : value;
  if (field === 'Candidate') policy.candidate = value === '(none)' ? null : value;
  const version = /^ (?:\*\*\*| {3}) (\S+)(?: (-?[0-9]{1,9}))?$/.exec(line);
  if (version !== null) {
    const [, text = '', own = '0'] = version;
    policy.versions.push({ version: text, own: Number(own), priorities: [], places: [] });
    return;
  }
  const place = /^ {5,}(-?[0-9]{1,9}) \S+ (\S+) \S+ Packages$/.exec(line);
  if (place === null) return;
  policy.versions.at(-1)?.priorities.push(Number(place[1]));
  policy.versions.at(-1)?.places.push(place[2] ?? '');
}

/** Without the versions that dpkg alone knows. */
function closed({ version, own, priorities, places }: OpenVersion): PackageVersion[] {
  if (places.length === 0) return [];
  const priority = own === 0 ? priorities.reduce((most, each) => Math.max(most, each), -1) : own;
  return [{ version, priority, places }];
}

/** The suites that apt has lists of, with their components, from `apt-cache policy` without a name. */
export function parseSuites(lines: readonly string[]): string[] {
  const suites = new Map<string, Set<string>>();
  for (const line of lines) {
    const fields = /^ {5,}release (\S.*)$/.exec(line)?.[1]?.split(',') ?? [];
    const field = (name: string) => fields.find((text) => text.startsWith(`${name}=`))?.slice(2);
    const suite = field('n') ?? field('a') ?? field('o');
    if (suite === undefined || suite === 'now') continue;
    const components = suites.get(suite) ?? new Set();
    suites.set(suite, components.add(field('c') ?? ''));
  }
  return [...suites].map(([suite, components]) => [suite, ...components].filter((word) => word !== '').join(' '));
}
