import { formatPpa } from '../api/ppa.ts';
import { type ErrorCode, errorTable, ImageBuilderError, safeUrl } from '../errors.ts';
import type { GuestSession } from '../guest/guest.ts';
import { renderAptConfiguration } from './configuration.ts';
import type { PpaSource } from './launchpad.ts';
import { parseMessages, type RepositoryFault, repositoryFault, repositorySuite, repositoryUrl } from './message.ts';
import { runApt } from './script.ts';
import { parseStatusLine } from './status-line.ts';

/** How far a step is: `current` of `total`, in percent or packages as the step says. */
export interface AptProgress {
  readonly current: number;
  readonly total: number;
  readonly message: string;
}

export interface UpdateOptions {
  /** The PPAs that were added, for messages to name. */
  readonly sources: readonly PpaSource[];
  readonly proxyUrl: string | null;
  readonly onLog: (line: string) => void;
  /** In percent. */
  readonly onProgress: (progress: AptProgress) => void;
}

/**
 * Fetches the package lists of every source of the image. One repository that fails, fails it, as the packages wanted
 * from it would be missing or old: throws `ppa.series`, `apt.repository`, `apt.signature`, `upstream.unreachable`,
 * `upstream.status` or `upstream.forbidden`, naming every such PPA or repository and why.
 */
export async function updateLists(session: GuestSession, options: UpdateOptions): Promise<void> {
  const { exitCode, lines } = await runApt(session, 'update', {
    files: { 'apt.conf': renderAptConfiguration(options) },
    onLine: options.onLog,
    onStatusLine: (line) => {
      const status = parseStatusLine(line);
      if (status !== null) {
        options.onProgress({ current: Math.floor(status.percent), total: 100, message: status.message });
      }
    },
  });
  const error = updateError(lines, exitCode, options.sources);
  if (error !== null) throw error;
}

interface RepositoryFailure {
  readonly fault: RepositoryFault;
  readonly url: string | null;
  readonly suite: string | null;
  readonly text: string;
}

/**
 * What `apt-get update` says has failed; null where nothing has. The exit code alone does not tell: apt before 2.1
 * ends with 0 when it could not verify or reach a repository and old lists, or none, are used instead.
 */
export function updateError(
  lines: readonly string[],
  exitCode: number,
  sources: readonly PpaSource[],
): ImageBuilderError | null {
  const messages = parseMessages(lines);
  const failures = nearestCauses(
    messages.flatMap(({ level, text }): RepositoryFailure[] => {
      const fault = level === 'notice' ? null : repositoryFault(text);
      return fault === null ? [] : [{ fault, url: repositoryUrl(text), suite: repositorySuite(text), text }];
    }),
  );
  const logTail = lines.slice(-20);
  if (failures.length === 0) {
    if (exitCode === 0) return null;
    const reason = messages.find(({ level }) => level === 'error')?.text ?? `apt-get ended with code ${exitCode}`;
    const code = /No space left on device/.test(reason) ? 'disk.full' : 'apt.repository';
    return new ImageBuilderError(code, `the package lists cannot be fetched: ${reason}`, { logTail });
  }
  const described = failures.map((failure) => describe(failure, sources));
  // What the caller has to change comes before what may mend itself: trying again would not help.
  const first = described.find(({ code }) => !errorTable[code].retryable) ?? described[0];
  const message = [first, ...described.filter((other) => other !== first)].map((entry) => entry?.message).join('; ');
  return new ImageBuilderError(first?.code ?? 'apt.repository', message, { logTail });
}

/** Order in which causes of the same repository explain each other: the later ones follow from the earlier. */
const precedence: readonly RepositoryFault[] = [
  'configuration',
  'unreachable',
  'forbidden',
  'missing',
  'expired',
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

function describe(failure: RepositoryFailure, sources: readonly PpaSource[]): { code: ErrorCode; message: string } {
  const ppa = sources.find((source) => failure.url !== null && samePlace(source.url, failure.url));
  const series = failure.suite === null ? '' : ` for "${failure.suite}"`;
  const place = failure.url === null ? 'a source' : safeUrl(failure.url);
  const who = ppa === undefined ? `the image's own source ${place}${series}` : formatPpa(ppa.ppa);
  const said = `apt says: ${failure.text}`;
  switch (failure.fault) {
    case 'missing':
      return ppa === undefined
        ? {
            code: 'apt.repository',
            message: `${who} is not there (a release past its end of life moves to another server); ${said}`,
          }
        : { code: 'ppa.series', message: `${who} publishes nothing${series}; ${said}` };
    case 'signature':
      return { code: 'apt.signature', message: `${who} is not signed by the key that it should be; ${said}` };
    case 'expired':
      return {
        code: 'apt.repository',
        message: `the Release file of ${who} is outside its time of validity (old, or the clock of the worker is wrong); ${said}`,
      };
    case 'forbidden':
      return { code: 'upstream.forbidden', message: `${who} refuses access; ${said}` };
    case 'out-of-step':
      return { code: 'upstream.status', message: `${who} is being changed or out of step with itself; ${said}` };
    case 'unreachable':
      return { code: 'upstream.unreachable', message: `${who} cannot be reached; ${said}` };
    case 'configuration':
      return { code: 'apt.repository', message: `${who} cannot be used; ${said}` };
  }
}

/** The scheme may differ: an image without https reads a PPA by http. */
function samePlace(left: string, right: string): boolean {
  const bare = (url: string) => url.replace(/^[a-z+]+:\/+/, '').replace(/\/+$/, '');
  return bare(left) === bare(right);
}
