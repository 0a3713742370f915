import { nearestNames } from '../spelling.ts';
import { someOf } from '../text.ts';
import type { AptKnowledge } from './knowledge.ts';
import { filesAgainst } from './pins.ts';
import { bareName, withoutArchitecture } from './plan.ts';
import type { Problem } from './resolve-problems.ts';

/** Words for the reasons why a package cannot be installed: each true for its case, with the way out. */

/** True for a package that no repository has: where apt has looked, helps to understand that. */
export function isNowhere(specification: string, { kind, providers }: Problem, known: AptKnowledge): boolean {
  const name = bareName(specification);
  const architecture = name.split(':')[1];
  if (kind === 'unknown') return architecture === undefined || knownArchitectures(known).includes(architecture);
  return kind === 'no-candidate' && providers.length === 0 && pinnedAway(name, known) === null;
}

/** The reason for one package that was asked for, as `name`, `name:arch`, `name=version` or `name/suite`. */
export function explainProblem(specification: string, problem: Problem, known: AptKnowledge): string {
  const name = bareName(specification);
  switch (problem.kind) {
    case 'unknown':
      return explainUnknown(name, known);
    case 'no-candidate':
      return explainNoCandidate(name, problem, known);
    case 'no-version':
      return `${virtual(problem) ?? `there is no version ${problem.text}`}${others(name, known)}`;
    case 'no-suite':
      return `${virtual(problem) ?? `the suite ${problem.text} does not have it, or is no source of the image`}${others(name, known)}`;
    case 'held':
      return `it is held in the base image${atVersion(name, known)}, and would be changed; take the hold off there (apt-mark unhold ${name}), or do not ask for it`;
    case 'downgrade':
      return `it is installed${atVersion(name, known)}, which is newer; "allow_downgrades": true allows the older one`;
    case 'unmet':
      return `${problem.text}${hints(problem, known)}`;
  }
}

/** Where apt has looked, for errors about packages that are nowhere. */
export function explainSuites({ suites }: AptKnowledge): string {
  return suites.length === 0
    ? 'apt has no package lists: the image has no source of its own'
    : `apt has looked in ${someOf(suites)}; the packages of other components and series are there only where the base image has them among its sources`;
}

function explainUnknown(name: string, known: AptKnowledge): string {
  const [base = '', architecture] = name.split(':');
  if (architecture !== undefined && !knownArchitectures(known).includes(architecture)) {
    return `the architecture ${architecture} is not enabled in the image, which has ${known.architectures.join(', ')}; list it in "foreign_architectures"`;
  }
  if (architecture !== undefined && (known.policies.get(base)?.versions.length ?? 0) > 0) {
    return `no repository of the image or of the PPAs has it for ${architecture}`;
  }
  const unsigned = base.slice(0, -1);
  if (/[+-]$/.test(base) && known.policies.has(unsigned)) {
    return `no repository of the image or of the PPAs has a package of this name; ask for ${unsigned}, without "${base.at(-1)}"`;
  }
  const near = nearestNames(base, known.names);
  const question = near.length === 0 ? '' : `; did you mean ${near.join(' or ')}?`;
  return `no repository of the image or of the PPAs has a package of this name${question}`;
}

const knownArchitectures = ({ architectures }: AptKnowledge) => [...architectures, 'any', 'native', 'all'];

function explainNoCandidate(name: string, problem: Problem, known: AptKnowledge): string {
  return (
    virtual(problem) ??
    pinnedAway(name, known) ??
    (problem.replacedBy.length > 0
      ? `it is obsolete, and no repository has it any more; replaced by ${problem.replacedBy.join(', ')}`
      : 'other packages refer to it, but no repository has it for this release and architecture')
  );
}

function virtual({ providers }: Problem): string | null {
  return providers.length === 0 ? null : `it is a virtual package; ask for one that provides it: ${someOf(providers)}`;
}

function pinnedAway(name: string, { policies, pins }: AptKnowledge): string | null {
  const policy = policies.get(name);
  const pinned = policy?.candidate === null ? policy.versions.filter(({ priority }) => priority < 0) : [];
  const [newest] = pinned;
  return newest === undefined
    ? null
    : `the pins of the base image (${filesAgainst(withoutArchitecture(name), pins) ?? 'apt_preferences'}) keep apt from all its versions (${versionsOf(pinned)}); ask for one of them, as ${name}=${newest.version}, or change the pins there`;
}

function others(name: string, { policies }: AptKnowledge): string {
  const versions = policies.get(name)?.versions ?? [];
  return versions.length === 0 ? '' : `; there is ${versionsOf(versions)}`;
}

function versionsOf(versions: readonly { readonly version: string; readonly places: readonly string[] }[]): string {
  return someOf(versions.map(({ version, places }) => `${version} in ${[...new Set(places)].join(', ')}`));
}

function atVersion(name: string, { policies }: AptKnowledge): string {
  const installed = policies.get(name)?.installed ?? null;
  return installed === null ? '' : ` at ${installed}`;
}

/** Reasons behind unmet dependencies: packages on hold, and pinned away. */
function hints({ concerns }: Problem, known: AptKnowledge): string {
  return concerns
    .flatMap((name) => {
      if (known.held.has(name) || known.held.has(withoutArchitecture(name)))
        return [`; ${name} is held in the base image${atVersion(name, known)} (apt-mark unhold ${name})`];
      const pinned = pinnedAway(name, known);
      return pinned === null ? [] : [`; of ${name}, ${pinned}`];
    })
    .join('');
}
