import { type ErrorCode, errorTable, ImageBuilderError, safeUrl, saysNoSpace } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { someOf } from '../text.ts';
import type { PackageCollector } from './collect-packages.ts';
import { renderAptConfiguration } from './configuration.ts';
import { dpkgFatal, packageOf, parseDpkgFailure } from './dpkg-failure.ts';
import { hookFailure } from './hook-failure.ts';
import { type AptMessage, parseMessages, repositoryFault, repositoryUrl } from './message.ts';
import type { InstallPlan } from './plan.ts';
import { describeRepository, type KnownRepositories, proxyFailureOf } from './repository.ts';
import { type ResolvedPlan, type ResolveOptions, recommendsOption, resolvePackages } from './resolve.ts';
import { type AptRun, runApt, texts } from './script.ts';
import { type AptStatus, parseStatusLine } from './status-line.ts';
import { type AptProgress, updateLists } from './update.ts';

export interface InstallOptions extends ResolveOptions, KnownRepositories {
  readonly signal: AbortSignal;
  readonly onLog: (line: string) => void;
  /** In packages, each counted twice: fetched and installed. */
  readonly onProgress: (progress: AptProgress) => void;
  /** The plan of the same installation, where apt has made it of the same lists already. */
  readonly resolved?: ResolvedPlan | undefined;
  /** Called with the plan before anything is downloaded; an error that it throws ends the installation. */
  readonly onPlan?: (plan: InstallPlan) => void;
  /** Takes the packages that the image has afterwards. */
  readonly collector?: PackageCollector;
}

/**
 * Installs packages in an image, with apt's own semantics: a package that is installed already is brought to its newest
 * version. All of them are checked first, so that one error (`apt.package`) names every package that cannot be had.
 * Throws `apt.install` where a package's own scripts or files fail, `image.full`, `disk.full`, `image.corrupt`, and
 * `egress.refused` or `upstream.*` where packages could not be downloaded. The image is then half changed: throw it
 * away.
 *
 * Where packages differ from their entries in the lists, the installation is tried once more with new lists: the
 * repository may have changed since. The retry is safe, because apt downloads everything before it changes anything.
 */
export async function installPackages(
  runner: ScriptRunner,
  specifications: readonly string[],
  options: InstallOptions,
): Promise<ResolvedPlan> {
  if (specifications.length === 0) return { install: [], remove: [], instead: new Map(), downloads: [] };
  const first = await install(runner, specifications, options);
  if (first.error === null) return first.plan;
  if (!first.outOfStep) throw first.error;
  options.onLog(`${first.error.message}; trying again with new package lists`);
  await updateLists(runner, { ...options, anew: true, onWarning: () => {}, onProgress: () => {} });
  const second = await install(runner, specifications, { ...options, resolved: undefined, anew: true });
  if (second.error !== null) throw second.error;
  return second.plan;
}

interface InstallResult {
  readonly plan: ResolvedPlan;
  readonly error: ImageBuilderError | null;
  /** True where packages differ from their entries in the lists; nothing was changed then. */
  readonly outOfStep: boolean;
}

async function install(
  runner: ScriptRunner,
  specifications: readonly string[],
  options: InstallOptions & { readonly anew?: boolean },
): Promise<InstallResult> {
  const plan = options.resolved ?? (await resolvePackages(runner, specifications, options));
  options.onPlan?.(plan);
  const failures: AptStatus[] = [];
  const total = 2 * plan.install.length;
  const run = await runApt(runner, 'install', {
    arguments: [recommendsOption(options.recommends), ...specifications],
    files: { 'apt.conf': renderAptConfiguration(options), hooks: texts.hooks, packages: texts.packages },
    onLine: options.onLog,
    onStatusLine: (line) => {
      if (options.collector?.take(line) === true) return;
      const status = parseStatusLine(line);
      if (status === null) return;
      if (status.kind === 'failure') failures.push(status);
      const percent = status.kind === 'download' ? status.percent : 100 + status.percent;
      options.onProgress({ current: Math.floor((percent / 200) * total), total, message: status.message });
    },
  });
  const error = installError(run, failures, options);
  const faults = error === null || failures.length > 0 ? [] : failedDownloads(run.lines).map(repositoryFault);
  return {
    plan,
    error,
    outOfStep: faults.length > 0 && faults.every((fault) => fault === 'out-of-step' || fault === 'missing'),
  };
}

/** The reason why `apt-get install` failed; null where it did not fail. */
export function installError(
  { exitCode, lines }: AptRun,
  failures: readonly AptStatus[],
  known: KnownRepositories,
): ImageBuilderError | null {
  if (exitCode === 0) return null;
  const logTail = lines.slice(-40);
  const messages = parseMessages(lines).filter(({ level }) => level === 'error');
  const output = lines.join('\n');
  if (/enough free space in/.test(output)) {
    return new ImageBuilderError('disk.full', 'the worker has no room for the packages to be downloaded', { logTail });
  }
  if (saysNoSpace(output)) {
    return new ImageBuilderError(
      'image.full',
      'the file system of the image has no room for the packages; ask for a larger disk with disk_size, or take a base image with one',
      { logTail },
    );
  }
  if (/dpkg was interrupted/.test(output)) {
    return new ImageBuilderError('image.corrupt', 'in the base image, dpkg was interrupted in its work', { logTail });
  }
  const hook = hookFailure(lines);
  if (hook !== null) return new ImageBuilderError('apt.install', hook, { logTail });
  const failed = failures.length > 0 ? failures : dpkgFailures(lines);
  if (failed.length > 0) {
    const reasons = failed.map(({ name, message }) => `${packageOf(name)}: ${message}`);
    return new ImageBuilderError('apt.install', `the installation failed in ${someOf([...new Set(reasons)], '; ')}`, {
      logTail,
    });
  }
  const fatal = dpkgFatal(lines);
  if (fatal !== null) {
    const message = `dpkg in the image, with its files in /var/lib/dpkg and /etc/dpkg, fails: ${fatal}`;
    return new ImageBuilderError('apt.install', message, { logTail });
  }
  return downloadError(failedDownloads(lines), logTail, known) ?? aptError(messages, exitCode, logTail);
}

/** apt's messages about packages that it could not fetch. */
function failedDownloads(lines: readonly string[]): string[] {
  return parseMessages(lines).flatMap(({ level, text }) =>
    level === 'error' && text.startsWith('Failed to fetch') ? [text] : [],
  );
}

/** The error of the downloads. Packages are fetched before anything is unpacked, so the failure is a server's. */
function downloadError(
  failed: readonly string[],
  logTail: readonly string[],
  known: KnownRepositories,
): ImageBuilderError | null {
  const described = failed.map((text) => describeDownload(text, known));
  // Errors that a retry cannot help come first.
  const first = described.find(({ code }) => !errorTable[code].retryable) ?? described[0];
  if (first === undefined) return null;
  const reasons = [first, ...described.filter((other) => other !== first)].map(({ message }) => message);
  return new ImageBuilderError(first.code, `packages cannot be downloaded: ${reasons.join('; ')}`, { logTail });
}

function describeDownload(text: string, known: KnownRepositories): { code: ErrorCode; message: string } {
  const url = repositoryUrl(text);
  const message = `${describeRepository(url, null, known)}: ${withSafeUrls(text)}`;
  const fault = repositoryFault(text);
  if (fault === 'unreachable' || fault === 'forbidden') {
    const met = proxyFailureOf(url, known);
    if (met !== null) return { code: met.code, message };
    return { code: fault === 'forbidden' ? 'upstream.forbidden' : 'upstream.unreachable', message };
  }
  return { code: 'upstream.status', message };
}

function withSafeUrls(text: string): string {
  return text
    .split(' ')
    .map((word) => (word.includes('://') ? safeUrl(word) : word))
    .join(' ');
}

/** An error of apt itself: held packages, removal of essential ones, unsigned packages. */
function aptError(messages: readonly AptMessage[], exitCode: number, logTail: readonly string[]): ImageBuilderError {
  const reason = messages.map(({ text }) => text).join('; ') || `apt-get ended with code ${exitCode}`;
  const folder = /^Directory '([^']*)' missing/.exec(reason)?.[1];
  if (folder !== undefined) {
    const message = `apt in the image has no folder for its log: ${folder} cannot be made there; see to it that it is a folder, or take Dir::Log out of the image's apt.conf`;
    return new ImageBuilderError('apt.install', message, { logTail });
  }
  if (repositoryFault(reason) === 'signature') return new ImageBuilderError('apt.signature', reason, { logTail });
  const code = /^(Held|Essential|Packages were downgraded)/.test(reason) ? 'apt.package' : 'apt.install';
  return new ImageBuilderError(code, `the packages cannot be installed: ${reason}`, { logTail });
}

/**
 * The failures that dpkg's output names and its status lines do not: `dpkg: error processing package NAME
 * (--configure):`.
 */
function dpkgFailures(lines: readonly string[]): Pick<AptStatus, 'name' | 'message'>[] {
  return lines.flatMap((line, index) => {
    const failure = parseDpkgFailure(line);
    if (failure === null) return [];
    const { name, message } = failure;
    return [{ name, message: message === '' ? (lines[index + 1] ?? '').trim() : message }];
  });
}
