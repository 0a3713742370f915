import { type ErrorCode, errorTable, ImageBuilderError, saysNoSpace } from '../errors.ts';
import { explainContradiction, withoutKeys } from './contradiction.ts';
import {
  methodOf,
  parseMessages,
  type RepositoryFault,
  repositoryFault,
  repositorySuite,
  repositoryUrl,
} from './message.ts';
import { describeRepository, type KnownRepositories, ppaAt, proxyFailureOf } from './repository.ts';
import { isInImage, isOnDisc, leftOutDisc, schemeOf, withoutWay } from './source-scheme.ts';

/** The failures and warnings of an update of package lists, from what apt has said. */

interface RepositoryFailure {
  readonly fault: RepositoryFault;
  readonly url: string | null;
  readonly suite: string | null;
  readonly text: string;
}

/**
 * The failure that `apt-get update` reports; null where there is none. The exit code alone is not enough: apt before
 * 2.1 ends with 0 when it could not verify or reach a repository and uses old lists, or none, instead. `contradicting` are
 * the files of `readContradiction`.
 */
export function updateError(
  lines: readonly string[],
  exitCode: number,
  known: KnownRepositories,
  contradicting: readonly string[] = [],
): ImageBuilderError | null {
  const all = repositoryFailures(lines);
  const failures = all.filter((failure) => !isDisc(failure));
  const logTail = lines.slice(-20);
  if (failures.length === 0) {
    if (exitCode === 0 || (all.length > 0 && saysNothingElse(lines))) return null;
    const reason =
      parseMessages(lines).find(({ level }) => level === 'error')?.text ?? `apt-get ended with code ${exitCode}`;
    const code = saysNoSpace(reason) ? 'disk.full' : 'apt.repository';
    return new ImageBuilderError(code, `the package lists cannot be fetched: ${reason}`, { logTail });
  }
  const described = failures.map((failure) => describe(failure, known, contradicting));
  // Errors that the caller has to mend come before those that may pass: for the former a retry would not help.
  const first = described.find(({ code }) => !errorTable[code].retryable) ?? described[0];
  const message = [first, ...described.filter((other) => other !== first)].map((entry) => entry?.message).join('; ');
  return new ImageBuilderError(first?.code ?? 'apt.repository', message, { logTail });
}

/** A repository in a folder for discs that is there, and has other faults, is one of the image. */
const isDisc = ({ url, fault }: RepositoryFailure) =>
  isOnDisc(url ?? '') && (fault === 'missing' || schemeOf(url ?? '') === 'cdrom');

/** Whether all errors are about discs that are not there: their sources are left out. */
function saysNothingElse(lines: readonly string[]): boolean {
  return parseMessages(lines).every(
    ({ level, text }) =>
      level !== 'error' || isOnDisc(repositoryUrl(text) ?? '') || /^Some index files failed to download/.test(text),
  );
}

/** Sources that an update has left out, or has taken without a signature, since the image says that it trusts them. */
export function updateWarnings(lines: readonly string[], known: KnownRepositories): string[] {
  const unsigned = new Map<string, string>();
  for (const line of lines) {
    const [, word, id = '', url = '', suite = '', file] =
      /^(Ign|Get|Hit):([0-9]{1,9}) (\S+) (\S+) Release(\.gpg)?(?= |$)/.exec(line) ?? [];
    if (word === 'Ign') unsigned.set(id, describeRepository(url, suite, known));
    else if (word !== undefined && file !== undefined) unsigned.delete(id);
  }
  const discs = repositoryFailures(lines).filter(isDisc);
  return [
    ...new Set([
      ...discs.map(({ url, text }) => leftOutDisc(text.slice(text.indexOf(url ?? '')).split("'")[0] ?? '')),
      ...[...unsigned.values()].map(
        (who) => `${who} is used without a signature, since the image says that it trusts it`,
      ),
    ]),
  ];
}

/** Whether every failure is of the kind that passes when a mirror has finished its own update. */
export function isPassing(lines: readonly string[]): boolean {
  const failures = repositoryFailures(lines);
  return failures.length > 0 && failures.every(({ fault }) => fault === 'out-of-step' || fault === 'garbled');
}

function repositoryFailures(lines: readonly string[]): RepositoryFailure[] {
  return nearestCauses(
    parseMessages(lines).flatMap(({ level, text }): RepositoryFailure[] => {
      const fault = level === 'notice' ? null : repositoryFault(text);
      return fault === null ? [] : [{ fault, url: repositoryUrl(text), suite: repositorySuite(text), text }];
    }),
  );
}

/** Order in which causes of the same repository explain each other: the earlier cause the later ones. */
const precedence: readonly RepositoryFault[] = [
  'scheme',
  'configuration',
  'unreachable',
  'forbidden',
  'missing',
  'expired',
  'garbled',
  'out-of-step',
  'signature',
];

/** One failure per repository and suite. */
function nearestCauses(failures: readonly RepositoryFailure[]): RepositoryFailure[] {
  const nearest = new Map<string, RepositoryFailure>();
  for (const failure of failures) {
    const key = failure.url === null ? failure.text : `${failure.url} ${failure.suite ?? ''}`;
    const known = nearest.get(key);
    if (known === undefined || precedence.indexOf(failure.fault) < precedence.indexOf(known.fault)) {
      nearest.set(key, failure);
    }
  }
  return [...nearest.values()];
}

function describe(
  failure: RepositoryFailure,
  known: KnownRepositories,
  contradicting: readonly string[],
): { code: ErrorCode; message: string } {
  const { url, suite } = failure;
  const who = describeRepository(url, suite, known);
  const said = `apt says: ${withoutKeys(failure.text)}`;
  switch (failure.fault) {
    case 'missing':
      return ppaAt(url, known.sources) === null
        ? {
            code: 'apt.repository',
            message: `${who} is not there${whereElse(url, suite)}; ${said}`,
          }
        : {
            code: 'ppa.series',
            message: `${who} publishes nothing${suite === null ? '' : ` for "${suite}"`}; ${said}`,
          };
    case 'signature':
      return { code: 'apt.signature', message: `${who} ${signatureFault(failure.text)}; ${said}` };
    case 'expired':
      return {
        code: 'apt.repository',
        message: `the Release file of ${who} is outside its time of validity (old, or the clock of the worker is wrong); ${said}`,
      };
    case 'forbidden':
    case 'unreachable':
      return describeRefusal(failure, who, said, known);
    case 'garbled':
      return { code: 'upstream.status', message: `${who} sends a Release file that is damaged, or a page; ${said}` };
    case 'out-of-step':
      return { code: 'upstream.status', message: `${who} is being changed or out of step with itself; ${said}` };
    case 'scheme':
      return { code: 'apt.repository', message: `a source of the image ${withoutWay(methodOf(failure.text))}` };
    case 'configuration': {
      const how = explainContradiction(failure.text, contradicting, ppaAt(url, known.sources));
      const advice = / in source list /.test(failure.text) ? '; mend that file in the base image, or take it out' : how;
      return { code: 'apt.repository', message: `${who} cannot be used${advice}; ${said}` };
    }
  }
}

function signatureFault(text: string): string {
  if (/EXPKEYSIG|KEYEXPIRED/.test(text)) {
    return 'is signed by a key that has expired (its owner has to extend the key; an own source of the image then needs that key in a newer keyring)';
  }
  if (/REVKEYSIG/.test(text)) return 'is signed by a key that its owner has revoked, and needs a new one';
  return 'is not signed by the key that it should be';
}

/** Why a repository may not be where the image says. */
function whereElse(url: string | null, suite: string | null): string {
  const scheme = schemeOf(url ?? '');
  if (isInImage(scheme)) return ': the image has no such folder, or it holds no repository';
  if (scheme.startsWith('mirror')) return ': its list of mirrors cannot be read, or none of them has it';
  if (suite?.endsWith('/') === true) {
    return ', or has no Release file; without one, only a source with "trusted=yes" is used';
  }
  return ' (a release past its end of life moves to another server; without a Release file, only a source with "trusted=yes" is used)';
}

/**
 * Describes a server that cannot be had: by the error that the proxy has met on the way to it, or else by apt's words.
 */
function describeRefusal(
  { fault, url }: RepositoryFailure,
  who: string,
  said: string,
  known: KnownRepositories,
): { code: ErrorCode; message: string } {
  const met = proxyFailureOf(url, known);
  const what = fault === 'forbidden' ? 'refuses access' : 'cannot be reached';
  if (met !== null) return { code: met.code, message: `${who} ${what}: ${met.message}` };
  return {
    code: fault === 'forbidden' ? 'upstream.forbidden' : 'upstream.unreachable',
    message: `${who} ${what}; ${said}`,
  };
}
