import { ImageBuilderError } from '../../errors.ts';
import type { ScriptRunner } from '../../guest/guest.ts';
import type { ArchiveName } from '../archive-name.ts';
import { collectPackages } from '../collect-packages.ts';
import { renderAptConfiguration } from '../configuration.ts';
import { installError } from '../install.ts';
import { type InstalledPackage, type PackageList, readPackages } from '../packages.ts';
import { assertNotKilled, texts } from '../script.ts';
import { type AptStatus, parseStatusLine } from '../status-line.ts';
import type { AptProgress } from '../update.ts';
import { type Archive, qualifiedName } from './archives.ts';
import { explainNetworkFailure } from './network-failure.ts';
import { placeOf } from './places.ts';
import { runOutsideScript } from './script.ts';

/** Packages that were resolved and downloaded outside an image, to be installed in it. */
export interface HandIn {
  /** Folder of the worker that holds the archives' files and nothing else. */
  readonly folder: string;
  readonly archives: readonly Archive[];
  /** Packages that the image has already, and is to have afterwards. Default: none. */
  readonly present?: readonly ArchiveName[];
  /** Packages to remove, `name` or `name:architecture`. */
  readonly remove: readonly string[];
  /** The image's own architecture. */
  readonly architecture: string;
  /** Lines of `apt-config dump` in the image. */
  readonly configuration: readonly string[];
  /**
   * The content of apt's extended_states afterwards, also where the worker's apt has not changed it: the image's apt gets every
   * package by its name, and notes that each was asked for. Null where nothing is installed and no note changes.
   */
  readonly extendedStates: Buffer | null;
}

export interface DownloadedInstallOptions {
  /** Whether the image's scripts reach the network. */
  readonly network: boolean;
  readonly onLog: (line: string) => void;
  /** In packages. */
  readonly onProgress: (progress: AptProgress) => void;
}

/** Where scripts/install.sh puts its repository. Apt sees no other source, and no pin or hold of the image. */
const outsideConfiguration = `
Dir::Etc::sourcelist "/run/imagebuilder-packages/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "/run/imagebuilder-packages/lists/";
Dir::Cache::archives "/run/imagebuilder-packages/archives/";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Default-Release "";
APT::Install-Suggests "false";
APT::Get::AutomaticRemove "false";
// The worker's apt has refused a downgrade unless the request allows it.
APT::Get::allow-downgrades "true";
`;

/**
 * Installs packages that were fetched outside an image, and resolves with the packages that the image has
 * afterwards. The image's own apt unpacks, configures and removes exactly the packages handed in, in the order that it
 * finds right. Throws as `installPackages` does, and `apt.install` with advice where a package's script failed for want
 * of a network.
 */
export async function installDownloaded(
  inside: ScriptRunner,
  handIn: HandIn,
  options: DownloadedInstallOptions,
): Promise<PackageList> {
  const { folder, archives, remove, extendedStates } = handIn;
  if (archives.length === 0 && remove.length === 0 && extendedStates === null) return await readPackages(inside);
  const lines: string[] = [];
  const failures: AptStatus[] = [];
  const collector = collectPackages();
  let exitCode: number | undefined;
  const { configuration } = handIn;
  await runOutsideScript(inside, 'install', {
    arguments: [placeOf(configuration, 'Dir::Log'), placeOf(configuration, 'Dir::State::extended_states')],
    folder,
    files: {
      'apt.conf': `${renderAptConfiguration({ proxyUrl: null })}${outsideConfiguration}`,
      hooks: texts.hooks,
      packages: texts.packages,
      settings: configuration
        .filter((line) => /^dpkg::/i.test(line))
        .map((line) => `${line}\n`)
        .join(''),
      Packages: archives.map(({ stanza }) => `${stanza}\n`).join(''),
      wanted: [...archives.map((archive) => wanted(archive, handIn)), ...remove.map((name) => `${name}-`)].join('\n'),
      ...(extendedStates === null ? {} : { extended_states: extendedStates }),
    },
    onLine: (line) => {
      lines.push(line);
      options.onLog(line);
    },
    onStatusLine: (line) => {
      if (collector.take(line)) return;
      const exit = /^exit:([0-9]+)$/.exec(line);
      if (exit !== null) exitCode = Number(exit[1]);
      const status = parseStatusLine(line);
      if (status?.kind === 'failure') failures.push(status);
      if (status?.kind === 'failure' || status?.kind === 'package') {
        const total = archives.length;
        options.onProgress({
          current: Math.floor((status.percent / 100) * total),
          total,
          message: status.message,
        });
      }
    },
  });
  if (exitCode === undefined) {
    throw new ImageBuilderError('guest.failed', 'the installation inside the image did not end as it should', {
      logTail: lines.slice(-20),
    });
  }
  assertNotKilled(exitCode, lines);
  const error = installError({ exitCode, lines }, failures, { sources: [] });
  if (error !== null) throw options.network ? error : explainNetworkFailure(error, lines);
  const list = await collector.list(inside);
  assertInstalled(handIn, list.packages);
  return list;
}

/** The argument by which apt-get is asked for exactly this version. */
function wanted({ name, version, architecture }: Archive, { architecture: own }: HandIn): string {
  return `${qualifiedName(name, architecture, own)}=${version}`;
}

/** Throws `guest.failed` unless the image now has the packages that were resolved for it. */
export function assertInstalled(
  {
    archives,
    present = [],
    remove,
    architecture: own,
  }: Pick<HandIn, 'archives' | 'present' | 'remove' | 'architecture'>,
  packages: readonly InstalledPackage[],
): void {
  const qualified = (name: string, architecture: string) => `${name}:${architecture === 'all' ? own : architecture}`;
  const versions = new Map(packages.map((entry) => [qualified(entry.name, entry.architecture), entry.version]));
  const wrong = [...archives, ...present].filter(
    ({ name, architecture, version }) => versions.get(qualified(name, architecture)) !== version,
  );
  const left = remove.filter((name) => versions.has(name.includes(':') ? name : qualified(name, own)));
  if (wrong.length === 0 && left.length === 0) return;
  const names = [...wrong.map(({ name, version }) => `${name} ${version}`), ...left.map((name) => `without ${name}`)];
  throw new ImageBuilderError(
    'guest.failed',
    `after the installation the image is not as it was planned to be: ${names.join(', ')}`,
  );
}
