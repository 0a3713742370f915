import { ImageBuilderError } from '../errors.ts';
import { type AptMessage, parseMessages, repositoryFault } from './message.ts';
import {
  bareName,
  listedNames,
  policyNames,
  replacements,
  selectedNames,
  unmetDependencies,
  virtualPackages,
  withoutArchitecture,
} from './plan.ts';

/** One question to apt about packages, and its answer. */
export interface Round {
  /** Lines of `apt-cache policy`; null where apt-get was content, and its answer is about just these names. */
  readonly policy: readonly string[] | null;
  /** Lines of `apt-get install --print-uris`. */
  readonly plan: readonly string[];
  readonly exitCode: number;
}

/** Why a package cannot be installed, as apt’s plan shows it. */
export interface Problem {
  /**
   * `unknown`: no such name. `no-candidate`: a name without a version that apt would take. `no-version`, `no-suite`: not
   * the one that was asked for. `unmet`: its dependencies. `held`: changing it is. `downgrade`: an older version is asked for.
   */
  readonly kind: 'unknown' | 'no-candidate' | 'no-version' | 'no-suite' | 'unmet' | 'held' | 'downgrade';
  /** The version or suite that is missing, or apt's words about dependencies. */
  readonly text: string;
  /** Packages that provide it, and that replace it. */
  readonly providers: readonly string[];
  readonly replacedBy: readonly string[];
  /** Packages that the dependencies are about. */
  readonly concerns: readonly string[];
}

/**
 * Which of `specifications` a round found to be impossible, and why. Throws `image.corrupt`, or `apt.package`, where
 * the reason lies in none of them.
 */
export function roundProblems(round: Round, specifications: readonly string[]): Map<string, Problem> {
  const messages = parseMessages(round.plan);
  assertSuiteKnown(messages, round);
  // apt-get takes an unknown name `name-` as a removal and `a+b` as a pattern: such a round has simulated something
  // else, and only its unknown names count.
  const unknown = unknownNames(round, specifications);
  if (unknown.size > 0) return unknown;
  const whole = messages.find(({ text }) => /fix-broken install|-f install/.test(text));
  if (whole !== undefined) {
    throw new ImageBuilderError(
      'image.corrupt',
      `the packages of the base image have unmet dependencies among themselves: ${unmetText(round.plan)}`,
      { logTail: round.plan.slice(-20) },
    );
  }
  const errors = messages.filter(({ level }) => level === 'error').map(({ text }) => text);
  // Where both know a reason, unmet dependencies say more.
  const problems = new Map([
    ...missingProblems(errors, round, specifications),
    ...unmetProblems(round, specifications),
    ...refusedChanges(errors, round, specifications),
  ]);
  if (problems.size > 0) return problems;
  // The solver of apt 3 reports one contradiction at a time, as a numbered derivation, and nothing else.
  const contradiction = messages.find(({ text }) => text.startsWith('Unable to satisfy dependencies'))?.text ?? '';
  const involved = selectedNames(contradiction);
  return new Map(
    specifications
      .filter((specification) => involved.has(nameOf(specification)))
      .map((specification) => [specification, problem('unmet', contradiction)]),
  );
}

/** Without the release that it is to prefer, apt says nothing about any package. */
function assertSuiteKnown(messages: readonly AptMessage[], { plan }: Round): void {
  const found = messages.flatMap(
    ({ text }) => /^The value '(.*)' is invalid for APT::Default-Release/.exec(text)?.[1] ?? [],
  )[0];
  if (found === undefined) return;
  throw new ImageBuilderError(
    'apt.package',
    `no package can be installed: the configuration of apt in the base image prefers the release "${found}" (APT::Default-Release), and the image has no source of it; take that out of its apt.conf, or add a source of the release`,
    { logTail: plan.slice(-20) },
  );
}

const nameOf = (specification: string) => withoutArchitecture(bareName(specification));

function problem(kind: Problem['kind'], text: string, more: Partial<Problem> = {}): Problem {
  return { kind, text, providers: [], replacedBy: [], concerns: [], ...more };
}

function unknownNames({ policy }: Round, specifications: readonly string[]): Map<string, Problem> {
  if (policy === null) return new Map();
  const named = policyNames(policy);
  const exactly = new Set(named);
  const known = new Set([...named, ...named.map(withoutArchitecture)]);
  return new Map(
    specifications
      .filter((specification) => !known.has(bareName(specification)) && !exactly.has(nameOf(specification)))
      .map((specification) => [specification, problem('unknown', '')]),
  );
}

/** By specification, why apt-get finds no such package or version. */
function missingProblems(errors: readonly string[], round: Round, specifications: readonly string[]) {
  const problems = new Map<string, Problem>();
  const byName = Map.groupBy(specifications, nameOf);
  const providers = virtualPackages(round.plan);
  const replacedBy = replacements(round.plan);
  for (const text of errors) {
    for (const [pattern, kind] of missing) {
      const match = pattern.exec(text);
      if (match === null) continue;
      for (const specification of byName.get(withoutArchitecture(match.groups?.name ?? '')) ?? []) {
        const wanted = match.groups?.wanted;
        if (wanted !== undefined && !specification.endsWith(wanted)) continue;
        const name = bareName(specification);
        const standIns = { providers: providers.get(name) ?? [], replacedBy: replacedBy.get(name) ?? [] };
        problems.set(specification, problem(kind, wanted ?? '', standIns));
      }
    }
  }
  return problems;
}

/** By specification, which of its dependencies cannot be met. */
function unmetProblems(round: Round, specifications: readonly string[]): Map<string, Problem> {
  const problems = new Map<string, Problem>();
  const unmet = Map.groupBy(unmetDependencies(round.plan), ([other]) => withoutArchitecture(other));
  for (const specification of specifications) {
    const reasons = (unmet.get(nameOf(specification)) ?? []).map(([, reason]) => reason);
    if (reasons.length === 0) continue;
    const text = reasons.join(', ');
    const concerns = [...text.matchAll(/(?:Depends|Recommends|Conflicts|Breaks): ([a-z0-9][a-z0-9+.:-]*)/g)];
    const names = [...new Set(concerns.map(([, name = '']) => name))].slice(0, maximumConcerns);
    problems.set(specification, problem('unmet', text, { concerns: names }));
  }
  return problems;
}

/** apt is asked about so many packages behind one that cannot be installed. */
const maximumConcerns = 20;

/** Changes that apt refuses unless they are allowed by name. */
const refusals = [
  {
    kind: 'held',
    error: /^Held packages were changed/,
    heading: /^The following held packages will be changed/,
    general: (names: string) => `they would change packages that the base image holds: ${names} (apt-mark unhold)`,
  },
  {
    kind: 'downgrade',
    error: /^Packages were downgraded/,
    heading: /^The following packages will be DOWNGRADED/,
    general: (names: string) => `they would need older versions of ${names}; "allow_downgrades": true allows that`,
  },
  {
    kind: null,
    error: /^Essential packages were removed/,
    heading: /^WARNING: The following essential packages will be removed/,
    general: (names: string) => `they would remove ${names}, which the system cannot do without (essential packages)`,
  },
] as const;

/** By specification, which of them apt would have to change against a hold, or to an older version. */
function refusedChanges(errors: readonly string[], round: Round, specifications: readonly string[]) {
  return new Map(
    refusals.flatMap(({ kind, error, heading }): [string, Problem][] => {
      if (kind === null || !errors.some((text) => error.test(text))) return [];
      const names = new Set(listedNames(round.plan, heading));
      return specifications
        .filter((specification) => names.has(bareName(specification)))
        .map((specification) => [specification, problem(kind, '')]);
    }),
  );
}

const missing: readonly (readonly [RegExp, Problem['kind']])[] = [
  [/^Unable to locate package (?<name>\S+)/, 'unknown'],
  [/^Couldn't find any package by (?:regex|glob) '(?<name>[^']+)'/, 'unknown'],
  [/^Package '?(?<name>[^'\s]+)'? has no installation candidate/, 'no-candidate'],
  [/^Version '(?<wanted>[^']+)' for '(?<name>[^']+)' was not found/, 'no-version'],
  [/^Release '(?<wanted>[^']+)' for '(?<name>[^']+)' was not found/, 'no-suite'],
];

function unmetText(lines: readonly string[]): string {
  return [...unmetDependencies(lines)].map(([name, reason]) => `${name}: ${reason}`).join('; ');
}

/** Why apt was not content with a round in which no specification is the reason. Throws `apt.signature`. */
export function generalReason(lines: readonly string[], exitCode: number): string {
  const messages = parseMessages(lines).filter(({ level }) => level === 'error');
  const signature = messages.find(({ text }) => repositoryFault(text) === 'signature');
  if (signature !== undefined)
    throw new ImageBuilderError('apt.signature', signature.text, { logTail: lines.slice(-20) });
  const parts = [unmetText(lines), ...messages.map((message) => refusal(message, lines) ?? message.text)];
  const said = parts.filter((text) => text !== '');
  return said.length === 0 ? `apt-get ended with code ${exitCode}` : said.join('; ');
}

function refusal({ text }: AptMessage, lines: readonly string[]): string | null {
  const found = refusals.find(({ error }) => error.test(text));
  const names = found === undefined ? [] : listedNames(lines, found.heading);
  return found === undefined || names.length === 0 ? null : found.general(names.join(', '));
}
