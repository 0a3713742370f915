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
  const problems = new Map<string, string>();
  // apt-get takes an unknown name `name-` as a removal and `a+b` as a pattern: such a round has simulated something
  // else, and only its unknown names count.
  const named = policyNames(round.policy);
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
  const providers = virtualPackages(round.simulation);
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
  const unmet = Map.groupBy(unmetDependencies(round.simulation), ([other]) => withoutArchitecture(other));
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
