import { formatPpa } from '../api/ppa.ts';
import { ImageBuilderError } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { someOf } from '../text.ts';
import type { ImageFacts } from './facts.ts';
import type { PpaSource } from './launchpad.ts';
import { runScript } from './script.ts';
import { compareVersions } from './version.ts';

/** A file of apt's configuration inside the image; owner root, mode 0644, as apt's own user must read it. */
export interface SourceFile {
  readonly path: string;
  readonly content: string | Uint8Array;
}

/**
 * The files that make an image's apt use a PPA, in the newest form that this apt understands (versions from apt's own
 * changelog): inline keys in deb822 sources since 2.3.10 (jammy), `signed-by` since 1.1~exp9 (xenial), before that a
 * key trusted for everything (trusty). Keys are binary where they are files: apt before 1.4 reads no armour.
 */
export function renderSources(source: PpaSource, facts: ImageFacts, series: string): SourceFile[] {
  const has = (version: string) => compareVersions(facts.aptVersion, version) >= 0;
  const url = usableUrl(source.url, facts);
  const stem = fileStem(source, series);
  if (has('2.3.10')) {
    const lines = [
      'Types: deb',
      `URIs: ${url}`,
      `Suites: ${series}`,
      'Components: main',
      'Signed-By:',
      ...embeddedKey(source.key.armored),
    ];
    return [{ path: `/etc/apt/sources.list.d/${stem}.sources`, content: `${lines.join('\n')}\n` }];
  }
  const keyring = has('1.1~exp9') ? `/etc/apt/keyrings/${stem}.gpg` : null;
  const option = keyring === null ? '' : `[signed-by=${keyring}] `;
  return [
    { path: keyring ?? `/etc/apt/trusted.gpg.d/${stem}.gpg`, content: source.key.binary },
    { path: `/etc/apt/sources.list.d/${stem}.list`, content: `deb ${option}${url} ${series} main\n` },
  ];
}

/** The files of all PPAs. Throws `apt.repository` where two of them have the same file. */
export function sourceFiles(facts: ImageFacts, sources: readonly PpaSource[], series: string): SourceFile[] {
  const owners = new Map<string, PpaSource>();
  const files: SourceFile[] = [];
  for (const source of sources) {
    for (const file of renderSources(source, facts, series)) {
      const { path } = file;
      const other = owners.get(path);
      if (other?.url === source.url) continue;
      if (other !== undefined) {
        throw new ImageBuilderError(
          'apt.repository',
          `${formatPpa(other.ppa)} and ${formatPpa(source.ppa)} cannot be used together: both would be configured in ${path}`,
        );
      }
      owners.set(path, source);
      files.push(file);
    }
  }
  return files;
}

/**
 * Writes the sources of all PPAs into an image. Doing it twice is the same as doing it once. Throws `apt.repository` where
 * the image's apt would not read them.
 */
export async function addSources(
  runner: ScriptRunner,
  facts: ImageFacts,
  sources: readonly PpaSource[],
  series: string,
): Promise<void> {
  const added = sourceFiles(facts, sources, series);
  if (added.length === 0) return;
  assertRead(await runScript(runner, 'add-sources', { files: filesToAdd(added), timeoutMs: 60_000 }));
}

/** The files that scripts/add-sources.sh works with. */
export function filesToAdd(added: readonly SourceFile[]): Record<string, string | Uint8Array> {
  const files: Record<string, string | Uint8Array> = {
    sources: added.map(({ path }, index) => `source-${index} ${path}\n`).join(''),
  };
  for (const [index, { content }] of added.entries()) files[`source-${index}`] = content;
  return files;
}

/** Throws `apt.repository` where the image's apt would not read what was to be added. */
function assertRead(lines: readonly string[]): void {
  const after = (word: string) =>
    lines.flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []));
  const [elsewhere] = after('elsewhere:');
  if (elsewhere === undefined) return;
  const files = after('set in');
  const place = files.length === 0 ? 'the configuration of its apt' : someOf(files);
  throw new ImageBuilderError(
    'apt.repository',
    `PPAs cannot be added: apt in the base image reads no sources from /etc/apt/sources.list.d, but from ${elsewhere}, by Dir::Etc::sourceparts of ${place}; take that setting out there`,
  );
}

/**
 * add-apt-repository's own naming, `owner-ubuntu-name-series`. apt ignores files whose name has anything but letters,
 * digits, `_`, `-` and `.`, without a word, so a `+` becomes `_`, which no Launchpad name contains.
 */
function fileStem({ ppa }: PpaSource, series: string): string {
  return `${ppa.owner}-ubuntu-${ppa.name}-${series}`.replaceAll('+', '_');
}

/**
 * http instead of https where the image's apt cannot use https: before 1.5 it needs apt-transport-https, and always CA
 * certificates. The repository's signature protects both alike.
 */
function usableUrl(url: string, facts: ImageFacts): string {
  const https =
    facts.caCertificates && (facts.aptTransportHttps || compareVersions(facts.aptVersion, '1.5~alpha4') >= 0);
  return https ? url : url.replace(/^https:/, 'http:');
}

/** deb822: every line one space in, an empty line as a single dot (sources.list(5)). */
function embeddedKey(armored: string): string[] {
  return armored
    .trim()
    .split('\n')
    .map((line) => ` ${line.trimEnd() === '' ? '.' : line.trimEnd()}`);
}
