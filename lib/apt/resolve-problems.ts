import { ImageBuilderError } from '../errors.ts';
import { parseMessages, repositoryFault } from './message.ts';
import {
  bareName,
  policyNames,
  selectedNames,
  unmetDependencies,
  virtualPackages,
  withoutArchitecture,
} from './simulation.ts';

/** One question to apt about packages, and its answer. */
export interface Round {
  /** Lines of `apt-cache policy`. */
  readonly policy: readonly string[];
  /** Lines of `apt-get install --simulate`. */
  readonly simulation: readonly string[];
  readonly exitCode: number;
}

/**
 * Which of `specifications` a round found to be impossible, and why. Throws `image.corrupt` or `apt.signature` where
 * the reason lies in none of them.
 */
export function roundProblems(round: Round, specifications: readonly string[]): Map<string, string> {
  // apt-get takes an unknown name `name-` as a removal and `a+b` as a pattern: such a round has simulated something
  // else, and only its unknown names count.
  const unknown = unknownNames(round, specifications);
  if (unknown.size > 0) return unknown;
  const messages = parseMessages(round.simulation);
  const whole = messages.find(({ text }) => /fix-broken install|-f install/.test(text));
  if (whole !== undefined) {
    throw new ImageBuilderError(
      'image.corrupt',
      `the packages of the base image have unmet dependencies among themselves: ${unmetText(round.simulation)}`,
      { logTail: round.simulation.slice(-20) },
    );
  }
  const errors = messages.filter(({ level }) => level === 'error').map(({ text }) => text);
  // Where both know a reason, unmet dependencies say more.
  const problems = new Map([
    ...missingProblems(errors, round, specifications),
    ...unmetProblems(round, specifications),
  ]);
  if (problems.size > 0) return problems;
  // The solver of apt 3 reports one contradiction at a time, as a numbered derivation, and nothing else.
  const contradiction = messages.find(({ text }) => text.startsWith('Unable to satisfy dependencies'))?.text ?? '';
  const involved = selectedNames(contradiction);
  return new Map(
    specifications
      .filter((specification) => involved.has(nameOf(specification)))
      .map((specification) => [specification, contradiction]),
  );
}

const nameOf = (specification: string) => withoutArchitecture(bareName(specification));

function unknownNames(round: Round, specifications: readonly string[]): Map<string, string> {
  const named = policyNames(round.policy);
  const exactly = new Set(named);
  const known = new Set([...named, ...named.map(withoutArchitecture)]);
  return new Map(
    specifications
      .filter((specification) => !known.has(bareName(specification)) && !exactly.has(nameOf(specification)))
      .map((specification) => [specification, 'no repository of the image or of the PPAs has a package of this name']),
  );
}

/** By specification, why apt-get finds no such package or version. */
function missingProblems(errors: readonly string[], round: Round, specifications: readonly string[]) {
  const problems = new Map<string, string>();
  const byName = Map.groupBy(specifications, nameOf);
  const providers = virtualPackages(round.simulation);
  for (const text of errors) {
    for (const [pattern, reason] of missing) {
      const match = pattern.exec(text);
      if (match === null) continue;
      for (const specification of byName.get(withoutArchitecture(match.groups?.name ?? '')) ?? []) {
        if (match.groups?.wanted !== undefined && !specification.endsWith(match.groups.wanted)) continue;
        problems.set(specification, reason(match.groups?.wanted ?? '', providers.get(bareName(specification)) ?? []));
      }
    }
  }
  return problems;
}

/** By specification, which of its dependencies cannot be met. */
function unmetProblems(round: Round, specifications: readonly string[]): Map<string, string> {
  const problems = new Map<string, string>();
  const unmet = Map.groupBy(unmetDependencies(round.simulation), ([other]) => withoutArchitecture(other));
  for (const specification of specifications) {
    const reasons = (unmet.get(nameOf(specification)) ?? []).map(([, reason]) => reason);
    if (reasons.length > 0) problems.set(specification, reasons.join(', '));
  }
  return problems;
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

function unmetText(lines: readonly string[]): string {
  return [...unmetDependencies(lines)].map(([name, reason]) => `${name}: ${reason}`).join('; ');
}

/** Why apt was not content with a round in which no specification is the reason. Throws `apt.signature`. */
export function generalReason(lines: readonly string[], exitCode: number): string {
  const messages = parseMessages(lines).filter(({ level }) => level === 'error');
  const signature = messages.find(({ text }) => repositoryFault(text) === 'signature');
  if (signature !== undefined)
    throw new ImageBuilderError('apt.signature', signature.text, { logTail: lines.slice(-20) });
  const parts = [unmetText(lines), ...messages.map(({ text }) => text)].filter((text) => text !== '');
  return parts.length === 0 ? `apt-get ended with code ${exitCode}` : parts.join('; ');
}
