import { ImageBuilderError, type RequestFault } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { renderAptConfiguration } from './configuration.ts';
import { type Download, parseDownloads } from './downloads.ts';
import { explainProblem, explainSuites, isNowhere } from './explain.ts';
import { readKnowledge } from './knowledge.ts';
import { bareName, type InstallPlan, parsePlan, withoutArchitecture } from './plan.ts';
import { generalReason, type Problem, type Round, roundProblems } from './resolve-problems.ts';
import { partOf, runApt } from './script.ts';
import { assertReadable } from './unreadable.ts';

/** The changes of an installation, and the files that it fetches. */
export interface ResolvedPlan extends InstallPlan {
  /** Without those of which apt does not say where they come from. */
  readonly downloads: readonly Download[];
}

export interface ResolveOptions {
  /** True to take recommended packages as well. */
  readonly recommends: boolean;
  readonly proxyUrl: string | null;
  /** True to take older versions than the installed ones, where they are asked for. */
  readonly allowDowngrades: boolean;
}

/**
 * Asks apt what installing `specifications` (`name`, `name:arch`, `name=version`, `name/suite`) would do. Throws
 * `apt.package` naming each of them that cannot be found or satisfied, with apt's reasons, `image.corrupt` where the
 * image's own packages do not fit together, and `apt.repository` where apt cannot read a file of the image.
 */
export async function resolvePackages(
  runner: ScriptRunner,
  specifications: readonly string[],
  options: ResolveOptions,
): Promise<ResolvedPlan> {
  const problems = new Map<string, Problem>();
  let remaining = [...new Set(specifications)];
  const general: string[] = [];
  let logTail: readonly string[] = [];
  // Apt stops at the first kind of problem. Each round takes out the packages that it named, until apt is content with
  // the rest.
  while (remaining.length > 0) {
    const round = await ask(runner, remaining, options);
    if (round.exitCode !== 0) await assertReadable(runner, round.plan);
    const found = roundProblems(round, remaining);
    if (found.size === 0 && round.exitCode === 0) {
      if (problems.size === 0) return { ...parsePlan(round.plan), downloads: round.downloads };
      break;
    }
    logTail = round.plan.slice(-20);
    for (const [specification, problem] of found) problems.set(specification, problem);
    if (found.size === 0) {
      general.push(generalReason(round.plan, round.exitCode));
      break;
    }
    remaining = remaining.filter((specification) => !found.has(specification));
  }
  const reasons = await explain(runner, problems);
  const faults = specifications.flatMap((specification, index): RequestFault[] => {
    const message = reasons.byPackage.get(specification);
    return message === undefined ? [] : [{ path: `$.package_list[${index}]`, message: `${specification}: ${message}` }];
  });
  const said = [...faults.map((fault) => fault.message), ...reasons.general, ...general];
  const subject =
    faults.length === 1 ? 'a package' : faults.length === 0 ? 'the packages' : `${faults.length} packages`;
  throw new ImageBuilderError('apt.package', `${subject} cannot be installed: ${said.join('; ')}`, { faults, logTail });
}

/** Words for problems, with the knowledge that apt has beside its plan. */
async function explain(runner: ScriptRunner, problems: ReadonlyMap<string, Problem>) {
  if (problems.size === 0) return { byPackage: new Map<string, string>(), general: [] };
  const unknown = [...problems.values()].some(({ kind }) => kind === 'unknown');
  const names = [...problems].flatMap(([specification, { concerns }]) => {
    const name = bareName(specification);
    return [name, withoutArchitecture(name), ...(/[+-]$/.test(name) ? [name.slice(0, -1)] : []), ...concerns];
  });
  const knowledge = await readKnowledge(runner, [...new Set(names)], { allNames: unknown });
  const byPackage = new Map(
    [...problems].map(([specification, problem]) => [specification, explainProblem(specification, problem, knowledge)]),
  );
  const nowhere = [...problems].some(([specification, problem]) => isNowhere(specification, problem, knowledge));
  return { byPackage, general: nowhere ? [explainSuites(knowledge)] : [] };
}

async function ask(
  runner: ScriptRunner,
  specifications: readonly string[],
  options: ResolveOptions,
): Promise<Round & Pick<ResolvedPlan, 'downloads'>> {
  const names = specifications.map((specification) => bareName(specification));
  const patterns = names.every((name) => plainName.test(name)) ? {} : { patterns: '' };
  const { exitCode, lines } = await runApt(runner, 'resolve', {
    arguments: [recommendsOption(options.recommends), ...specifications],
    files: { 'apt.conf': renderAptConfiguration(options), names: `${names.join('\n')}\n`, ...patterns },
    timeoutMs: 600_000,
  });
  const plan = partOf(lines, 'plan') ?? [];
  const places = partOf(lines, 'places');
  return {
    policy: partOf(lines, 'policy'),
    plan,
    downloads: places === null ? [] : parseDownloads(plan, places),
    exitCode,
  };
}

/** A name that apt-get takes for nothing but the name of a package: no pattern (`a+b`), and no removal (`name-`). */
const plainName = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(:[a-z0-9-]+)?$/;

/** apt-get's option that decides about recommended packages, whatever the image's configuration says. */
export function recommendsOption(recommends: boolean): string {
  return recommends ? '--install-recommends' : '--no-install-recommends';
}
