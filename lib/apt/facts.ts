import { ImageBuilderError } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { someOf } from '../text.ts';
import { databaseError, type InstalledPackage, parsePackages } from './packages.ts';
import { parseRoom, type Room } from './room.ts';
import { runScript, texts } from './script.ts';

/** Facts about an image and its apt that decide how sources and packages can be added. */
export interface ImageFacts {
  /** `ID` of os-release: `ubuntu`, `debian`. */
  readonly distribution: string;
  /** `VERSION_ID` of os-release, such as `14.04`; empty where there is none (Debian testing). */
  readonly distributionVersion: string;
  /** Name of the release that PPAs are built for, such as `trusty`; null where the image does not say. */
  readonly series: string | null;
  /** dpkg's own architecture: `amd64`. */
  readonly architecture: string;
  readonly foreignArchitectures: readonly string[];
  /** True where the configuration of its apt may name another architecture, or others, than dpkg. */
  readonly aptArchitectures: boolean;
  /** Version of the package `apt`. */
  readonly aptVersion: string;
  /** True where TLS servers can be verified. */
  readonly caCertificates: boolean;
  /** True where the package `apt-transport-https` is installed (before apt 1.5, https needs it). */
  readonly aptTransportHttps: boolean;
  readonly packages: readonly InstalledPackage[];
  /** Of each file system that packages lie on; empty where the image's tools cannot say. */
  readonly rooms: readonly Room[];
}

/**
 * Reads the facts of an opened image. Throws `image.unsupported` where it is not a system with dpkg and apt, and
 * `image.corrupt` where dpkg fails, was interrupted or left packages half installed: nothing can be added to such an image.
 */
export async function readImageFacts(runner: ScriptRunner): Promise<ImageFacts> {
  const lines = await runScript(runner, 'facts', {
    files: { packages: texts.packages, room: texts.room },
    timeoutMs: 120_000,
  }).catch((error: unknown) => Promise.reject(databaseError(error)));
  const end = lines.indexOf('== packages');
  return parseFacts(lines.slice(0, end), parsePackages(lines.slice(end + 1)));
}

/** Makes facts of the lines of scripts/facts.sh, up to the packages. Throws as `readImageFacts`. */
export function parseFacts(lines: readonly string[], packages: readonly InstalledPackage[]): ImageFacts {
  const of = (kind: string) =>
    lines.filter((line) => line.startsWith(`${kind} `)).map((line) => line.slice(kind.length + 1));
  const missing = of('missing');
  const apt = packages.find((entry) => entry.name === 'apt');
  const architecture = of('architecture')[0] ?? '';
  const [failing] = of('failing');
  if (missing.length === 0 && failing !== undefined) {
    throw new ImageBuilderError(
      'image.corrupt',
      `dpkg in the base image fails: ${failing.replace(/^dpkg: (error: )?/, '')}; mend that there`,
    );
  }
  if (missing.length > 0 || apt === undefined || architecture === '') {
    const ofApt = packages.length > 0 ? 'no package apt' : 'no package at all in its /var/lib/dpkg/status';
    const lack = missing.length > 0 ? `no ${missing.join(', ')}` : ofApt;
    throw new ImageBuilderError(
      'image.unsupported',
      `the base image has ${lack}: only Debian, Ubuntu and systems derived from them can be changed`,
    );
  }
  const unfinished = packages.filter((entry) => entry.state === 'unfinished').map((entry) => entry.name);
  if (unfinished.length > 0 || of('interrupted').length > 0) {
    const what = unfinished.length > 0 ? `left unfinished: ${someOf(unfinished)}` : 'interrupted in its work';
    throw new ImageBuilderError(
      'image.corrupt',
      `in the base image, dpkg was ${what}; repair it there with "dpkg --configure -a" and "apt-get -f install"`,
    );
  }
  const osRelease = parseAssignments(of('os-release'));
  return {
    distribution: osRelease.get('ID') ?? '',
    distributionVersion: osRelease.get('VERSION_ID') ?? '',
    series: seriesOf(osRelease, parseAssignments(of('lsb-release')), of('debian-version')),
    architecture,
    foreignArchitectures: of('foreign-architecture'),
    aptArchitectures: of('apt-architectures').length > 0,
    aptVersion: apt.version,
    caCertificates: of('ca-certificates').length > 0,
    aptTransportHttps: packages.some((entry) => entry.name === 'apt-transport-https'),
    packages,
    rooms: parseRoom(lines),
  };
}

/**
 * Throws `image.series` unless the image is of `series`: packages built for one release do not belong in another, and
 * apt would mix them without a word.
 */
export function assertSeries(facts: ImageFacts, series: string): void {
  if (facts.series === series) return;
  const system = `${facts.distribution} ${facts.distributionVersion}`.trim() || 'an unknown system';
  throw new ImageBuilderError(
    'image.series',
    facts.series === null
      ? `the request asks for the series "${series}", but the base image (${system}) does not tell which series it is`
      : `the request asks for the series "${series}", but the base image is "${facts.series}" (${system})`,
  );
}

/** Throws `image.unsupported` unless the image is of one of these architectures. */
export function assertArchitecture({ architecture }: ImageFacts, allowed: readonly string[]): void {
  if (allowed.includes(architecture)) return;
  const message = `the base image is for ${architecture}; images of this kind are for ${allowed.join(', ')}`;
  throw new ImageBuilderError('image.unsupported', message);
}

/** Finds the release's name: in os-release since 2015, in lsb-release in older Ubuntu (trusty has no other). */
function seriesOf(
  osRelease: ReadonlyMap<string, string>,
  lsbRelease: ReadonlyMap<string, string>,
  debianVersion: readonly string[],
): string | null {
  const candidates = [
    // Derivatives such as Mint have a codename of their own beside Ubuntu's, which is the one PPAs know.
    osRelease.get('UBUNTU_CODENAME'),
    osRelease.get('VERSION_CODENAME'),
    lsbRelease.get('DISTRIB_CODENAME'),
    // Debian before stretch: VERSION="8 (jessie)". Debian testing before bookworm: "bookworm/sid" in debian_version.
    /\(([a-z]+)\)/.exec(osRelease.get('VERSION') ?? '')?.[1],
    /^([a-z]+)\/sid$/.exec(debianVersion[0] ?? '')?.[1],
  ];
  return candidates.find((name) => name !== undefined && name !== '') ?? null;
}

/** `NAME=value` lines of os-release(5) and lsb-release, quotes and backslashes undone. */
function parseAssignments(lines: readonly string[]): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of lines) {
    const [, name, rest = ''] = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line.trim()) ?? [];
    if (name === undefined) continue;
    const quoted = /^"(.*)"$|^'(.*)'$/.exec(rest);
    const text = quoted?.[1] ?? quoted?.[2] ?? rest;
    values.set(name, quoted?.[2] === undefined ? text.replace(/\\(.)/g, '$1') : text);
  }
  return values;
}
