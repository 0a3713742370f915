import { indexFolder } from '../caches.ts';
import { compareVersions } from '../version.ts';
import type { AptState } from './state.ts';
import { here } from './worker-files.ts';

/**
 * The configuration of the worker's own apt while it works out what an image's apt would do. An image's apt.conf can
 * name commands to run and files to read and write, so only the options listed here are taken over, with checked
 * values: those that decide which packages are chosen and which of them count as automatic.
 */
const truth = /^(yes|true|on|with|enable|1|no|false|off|without|disable|0)$/i;
const number = /^[0-9]{1,9}$/;
const release = /^[A-Za-z0-9._~+:/*^$|=, -]{0,200}$/;

const options: Readonly<Record<string, RegExp>> = {
  'apt::install-suggests': truth,
  'apt::default-release': release,
  'apt::ignore-hold': truth,
  'apt::get::allow-downgrades': truth,
  'apt::get::allow-change-held-packages': truth,
  'apt::get::allow-remove-essential': truth,
  'apt::get::automaticremove': truth,
  'apt::get::upgrade-by-source-package': truth,
  'apt::autoremove::recommendsimportant': truth,
  'apt::autoremove::suggestsimportant': truth,
  'apt::protect-kernels': truth,
  'acquire::check-valid-until': truth,
  'acquire::check-date': truth,
  'acquire::max-validtime': number,
  'acquire::min-validtime': number,
  'acquire::max-futuretime': number,
};

/** Lists: sections of the archive, and patterns of names, which are POSIX regular expressions. */
const lists: readonly string[] = [
  'apt::install-recommends-sections',
  'apt::never-markauto-sections',
  'apt::move-autobit-sections',
  'apt::neverautoremove',
  'apt::versionedkernelpackages',
];
const entry = /^[A-Za-z0-9^$.*+?()|[\]\\/_:~-]{1,200}$/;
const maximumEntries = 500;

/** Lines of an apt.conf that make the worker's apt choose as the image's does, from lines of `apt-config dump`. */
export function choosingOptions(dump: readonly string[]): string[] {
  const entries = new Map<string, number>();
  return dump.flatMap((line): string[] => {
    const match = /^([A-Za-z0-9:-]{1,100}) "([^"]*)";$/.exec(line);
    const [, key = '', value = ''] = match ?? [];
    const name = key.toLowerCase();
    const pattern = options[name];
    if (pattern !== undefined) return pattern.test(value) ? [`${key} "${value}";`] : [];
    const list = name.endsWith('::') ? name.slice(0, -2) : '';
    const count = entries.get(list) ?? 0;
    if (!lists.includes(list) || !entry.test(value) || value.endsWith('\\') || count >= maximumEntries) return [];
    entries.set(list, count + 1);
    return [`${key} "${value}";`];
  });
}

/** More than Debian has; apt gets slower with each. */
const maximumArchitectures = 32;

/** Architectures that the image's apt installs packages of, its own first, at most 32. */
export function architecturesOf(state: AptState, own: string, foreign: readonly string[]): string[] {
  const configured = state.configuration.flatMap(
    (line) => /^APT::Architectures:: "([a-z0-9][a-z0-9-]{0,40})";$/.exec(line)?.[1] ?? [],
  );
  const all = configured.length > 0 ? configured : foreign;
  const named = [...new Set([own, ...all])].filter((name) => /^[a-z0-9][a-z0-9-]*$/.test(name));
  return named.slice(0, maximumArchitectures);
}

export interface WorkerAptFolders {
  /** apt's Dir::Etc, of the layout that lib/apt/outside/worker-files.ts makes. */
  readonly etc: string;
  readonly state: string;
  readonly log: string;
  readonly cache: string;
}

export interface WorkerAptOptions {
  readonly folders: WorkerAptFolders;
  /** The image's own first. */
  readonly architectures: readonly string[];
  readonly imageAptVersion: string;
  readonly workerAptVersion: string;
  readonly state: Pick<AptState, 'configuration' | 'certificates'>;
}

/**
 * The text of the file that APT_CONFIG names. apt reads it before any other, and it names every place where apt would
 * look for more, so that neither the worker's own configuration nor its sources and keys count.
 */
export function renderWorkerConfiguration(given: WorkerAptOptions): string {
  const { folders, architectures, imageAptVersion, workerAptVersion, state } = given;
  // Before 2.5.2, packages of the same source are not upgraded together with the one asked for (apt's NEWS).
  const bySource = compareVersions(imageAptVersion, '2.5.2~') >= 0;
  return `${[
    `Dir::Etc "${folders.etc}";`,
    'Dir::Etc::main "none";',
    'Dir::Etc::parts "none.d";',
    'Dir::Etc::sourcelist "none";',
    'Dir::Etc::sourceparts "sources.d";',
    'Dir::Etc::preferences "none";',
    'Dir::Etc::preferencesparts "preferences.d";',
    'Dir::Etc::trusted "none";',
    'Dir::Etc::trustedparts "trusted.d";',
    'Dir::Etc::netrc "none";',
    'Dir::Etc::netrcparts "auth.d";',
    `Dir::State "${folders.state}";`,
    `Dir::State::status "${folders.state}/status";`,
    `Dir::State::extended_states "${folders.state}/extended_states";`,
    // apt takes an index for one of other lists where their names are others.
    `Dir::State::lists "${here}/lists";`,
    `Dir::Cache "${folders.cache}";`,
    'Dir::Cache::archives "archives";',
    `Dir::Cache::pkgcache "${indexFolder}/pkgcache.bin";`,
    `Dir::Cache::srcpkgcache "${indexFolder}/srcpkgcache.bin";`,
    `Dir::Log "${folders.log}";`,
    // "Installing" then only downloads, and notes in extended_states which packages would count as automatic.
    'Dir::Bin::dpkg "/bin/true";',
    `APT::Architecture "${architectures[0]}";`,
    `APT::Architectures { ${architectures.map((name) => `"${name}";`).join(' ')} };`,
    'APT::Sandbox::User "";',
    'Debug::NoLocking "true";',
    `APT::Get::Upgrade-By-Source-Package "${bySource}";`,
    // The TLS authorities that the image trusts, so that the worker needs no certificates of its own. An image without
    // any has no https sources that work.
    ...(state.certificates.length === 0 ? [] : [`Acquire::https::CaInfo "${folders.etc}/certificates.pem";`]),
    ...choosingOptions(state.configuration),
    ...solver(state.configuration, workerAptVersion),
  ].join('\n')}\n`;
}

/**
 * The image's own solver, where the worker's apt has it; otherwise the one that every apt has. Before 2.9.3 any other
 * name would be that of an external program.
 */
function solver(dump: readonly string[], workerAptVersion: string): string[] {
  if (compareVersions(workerAptVersion, '2.9.3~') < 0) return [];
  const own = dump.some((line) => line === 'APT::Solver "3.0";');
  return [`APT::Solver "${own ? '3.0' : 'internal'}";`];
}
