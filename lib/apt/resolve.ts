import { ImageBuilderError, type RequestFault } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { upTo } from '../text.ts';
import { renderAptConfiguration } from './configuration.ts';
import { parseMessages, repositoryFault } from './message.ts';
import { runApt } from './script.ts';

/** The changes that apt would make. */
export interface InstallPlan {
  /** Packages to install or upgrade, by name. */
  readonly install: readonly string[];
  /** Packages to remove, because they conflict with the requested ones. */
  readonly remove: readonly string[];
}

export interface ResolveOptions {
  /** True to take recommended packages as well. */
  readonly recommends: boolean;
  readonly proxyUrl: string | null;
}

/**
 * Asks apt what installing `specifications` (`name`, `name:arch`, `name=version`, `name/suite`) would do. Throws
 * `apt.package` naming each of them that cannot be found or satisfied, with apt's reasons, and `image.corrupt` where
 * the image's own packages do not fit together.
 */
export async function resolvePackages(
  runner: ScriptRunner,
  specifications: readonly string[],
  options: ResolveOptions,
): Promise<InstallPlan> {
  const problems = new Map<string, string>();
  let remaining = [...new Set(specifications)];
  const general: string[] = [];
  let logTail: readonly string[] = [];
  // Apt stops at the first kind of problem. Each round takes out the packages that it named, until apt is content with
  // the rest.
  while (remaining.length > 0) {
    const round = await simulate(runner, remaining, options);
    const found = roundProblems(round, remaining);
    if (found.size === 0 && round.exitCode === 0) {
      if (problems.size === 0) return parsePlan(round.simulation);
      break;
    }
    logTail = round.simulation.slice(-20);
    for (const [specification, reason] of found) problems.set(specification, reason);
    if (found.size === 0) {
      general.push(generalReason(round.simulation, round.exitCode));
      break;
    }
    remaining = remaining.filter((specification) => !found.has(specification));
  }
  const faults = specifications.flatMap((specification, index): RequestFault[] => {
    const message = problems.get(specification);
    return message === undefined ? [] : [{ path: `$.package_list[${index}]`, message: `${specification}: ${message}` }];
  });
  const reasons = [...faults.map((fault) => fault.message), ...general];
  const subject =
    faults.length === 1 ? 'a package' : faults.length === 0 ? 'the packages' : `${faults.length} packages`;
  throw new ImageBuilderError('apt.package', `${subject} cannot be installed: ${reasons.join('; ')}`, {
    faults,
    logTail,
  });
}

interface Round {
  readonly policy: readonly string[];
  readonly simulation: readonly string[];
  readonly exitCode: number;
}

async function simulate(
  runner: ScriptRunner,
  specifications: readonly string[],
  options: ResolveOptions,
): Promise<Round> {
  const names = specifications.map((specification) => bareName(specification));
  const { exitCode, lines } = await runApt(runner, 'resolve', {
    arguments: [recommendsOption(options.recommends), ...specifications],
    files: { 'apt.conf': renderAptConfiguration(options), names: `${names.join('\n')}\n` },
    timeoutMs: 600_000,
  });
  const start = lines.indexOf('== simulation');
  return { policy: lines.slice(0, start), simulation: lines.slice(start + 1), exitCode };
}

/** apt-get's option that decides about recommended packages, whatever the image's configuration says. */
export function recommendsOption(recommends: boolean): string {
  return recommends ? '--install-recommends' : '--no-install-recommends';
}

/**
 * Which of `specifications` a round found to be impossible, and why. Throws `image.corrupt` or `apt.signature` where
 * the reason lies in none of them.
 */
export function roundProblems(round: Round, specifications: readonly string[]): Map<string, string> {
  const problems = new Map<string, string>();
  // apt-get takes an unknown name `name-` as a removal and `a+b` as a pattern: such a round has simulated something
  // else, and only its unknown names count.
  const named = parsePolicyNames(round.policy);
  const known = new Set([...named, ...named.map(withoutArchitecture)]);
  const exactly = new Set(named);
  for (const specification of specifications) {
    const name = bareName(specification);
    if (!known.has(name) && !exactly.has(withoutArchitecture(name)))
      problems.set(specification, 'no repository of the image or of the PPAs has a package of this name');
  }
  if (problems.size > 0) return problems;
  const messages = parseMessages(round.simulation);
  const whole = messages.find(({ text }) => /fix-broken install|-f install/.test(text));
  if (whole !== undefined) {
    throw new ImageBuilderError(
      'image.corrupt',
      `the packages of the base image have unmet dependencies among themselves: ${unmetText(round.simulation)}`,
      { logTail: round.simulation.slice(-20) },
    );
  }
  const nameOf = (specification: string) => withoutArchitecture(bareName(specification));
  const byName = Map.groupBy(specifications, nameOf);
  const providers = parseProviders(round.simulation);
  for (const { level, text } of messages) {
    if (level !== 'error') continue;
    for (const [pattern, reason] of missing) {
      const match = pattern.exec(text);
      if (match === null) continue;
      for (const specification of byName.get(withoutArchitecture(match.groups?.name ?? '')) ?? []) {
        if (match.groups?.wanted !== undefined && !specification.endsWith(match.groups.wanted)) continue;
        problems.set(specification, reason(match.groups?.wanted ?? '', providers.get(bareName(specification)) ?? []));
      }
    }
  }
  const unmet = Map.groupBy(parseUnmet(round.simulation), ([other]) => withoutArchitecture(other));
  for (const specification of specifications) {
    const reasons = (unmet.get(nameOf(specification)) ?? []).map(([, reason]) => reason);
    if (reasons.length > 0) problems.set(specification, reasons.join(', '));
  }
  if (problems.size > 0) return problems;
  // The solver of apt 3 reports one contradiction at a time, as a numbered derivation, and nothing else.
  const contradiction = messages.find(({ text }) => text.startsWith('Unable to satisfy dependencies'));
  const involved = selectedNames(contradiction?.text ?? '');
  for (const specification of specifications) {
    if (involved.has(withoutArchitecture(bareName(specification)))) {
      problems.set(specification, contradiction?.text ?? '');
    }
  }
  return problems;
}

/** Packages of which a text says `name:architecture=version is selected for install`. */
function selectedNames(text: string): Set<string> {
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

const missing: readonly (readonly [RegExp, (wanted: string, providers: readonly string[]) => string])[] = [
  [/^Unable to locate package (?<name>\S+)/, () => 'no repository of the image or of the PPAs has it'],
  [/^Couldn't find any package by (?:regex|glob) '(?<name>[^']+)'/, () => 'no repository has it'],
  [
    /^Package '?(?<name>[^'\s]+)'? has no installation candidate/,
    (_wanted, providers) =>
      providers.length > 0
        ? `it is a virtual package; ask for one that provides it: ${providers.join(', ')}`
        : 'other packages refer to it, but no repository has it for this release and architecture',
  ],
  [/^Version '(?<wanted>[^']+)' for '(?<name>[^']+)' was not found/, (wanted) => `there is no version ${wanted}`],
  [
    /^Release '(?<wanted>[^']+)' for '(?<name>[^']+)' was not found/,
    (wanted) => `the suite ${wanted} does not have it`,
  ],
];

/** `The following packages have unmet dependencies:` (`Unsatisfied dependencies:` since apt 3) and what follows. */
function parseUnmet(lines: readonly string[]): Map<string, string> {
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

function unmetText(lines: readonly string[]): string {
  return [...parseUnmet(lines)].map(([name, reason]) => `${name}: ${reason}`).join('; ');
}

function generalReason(lines: readonly string[], exitCode: number): string {
  const messages = parseMessages(lines).filter(({ level }) => level === 'error');
  const signature = messages.find(({ text }) => repositoryFault(text) === 'signature');
  if (signature !== undefined)
    throw new ImageBuilderError('apt.signature', signature.text, { logTail: lines.slice(-20) });
  const parts = [unmetText(lines), ...messages.map(({ text }) => text)].filter((text) => text !== '');
  return parts.length === 0 ? `apt-get ended with code ${exitCode}` : parts.join('; ');
}

/** `Inst name [old] (new …)` and `Remv name [old]` lines of a simulation. */
export function parsePlan(lines: readonly string[]): InstallPlan {
  const names = (word: string) =>
    lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.split(' ')[1] ?? '');
  return { install: names('Inst'), remove: names('Remv') };
}

/** Names that stand at the beginning of a line, with a colon: those `apt-cache policy` knows. */
function parsePolicyNames(lines: readonly string[]): string[] {
  return lines.flatMap((line) => /^([a-z0-9]\S*):$/.exec(line)?.[1] ?? []);
}

/** By name: `Package x is a virtual package provided by:` and the indented names below. */
function parseProviders(lines: readonly string[]): Map<string, string[]> {
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

/** `name` or `name:arch` of a specification. */
function bareName(specification: string): string {
  return upTo(specification, '=', '/');
}

function withoutArchitecture(name: string): string {
  return upTo(name, ':');
}
