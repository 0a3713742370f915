import { readdir } from 'node:fs/promises';
import { foreignImage } from '../architecture.ts';
import { ImageBuilderError, saysNoSpace } from '../errors.ts';
import { ExecError } from '../exec.ts';
import { lineAfter } from '../text.ts';
import type { GuestDisk, GuestScript } from './guest.ts';
import { guestScripts } from './script.ts';

/** The parts of running a script inside an image that all guests share. */

/**
 * The whole environment of a script, with what the image's kind adds; the worker's own does not reach it. `proxyUrl` is
 * the proxy as it is reached inside, null without a network.
 */
export function scriptEnvironment({ environment }: GuestDisk, proxyUrl: string | null): Record<string, string> {
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    USER: 'root',
    LOGNAME: 'root',
    SHELL: '/bin/sh',
    LANG: 'C.UTF-8',
    LC_ALL: 'C.UTF-8',
    TERM: 'dumb',
    DEBIAN_FRONTEND: 'noninteractive',
    DEBCONF_NONINTERACTIVE_SEEN: 'true',
    // systemctl starts nothing, and says so, as in a chroot. In a container it would look for a systemd that is not there.
    SYSTEMD_OFFLINE: '1',
    ...environment,
    ...(proxyUrl === null ? {} : { http_proxy: proxyUrl, https_proxy: proxyUrl }),
  };
}

export interface ScriptFailure {
  readonly exitCode: number | undefined;
  readonly signalName: string | undefined;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
  readonly cause?: unknown;
}

/** The error of a script that failed, with its name; `image.full` where the image had no room for its files. */
export function scriptError({ name }: GuestScript, failure: ScriptFailure): ImageBuilderError {
  const error = new ExecError({
    cause: undefined,
    ...failure,
    command: `the script ${name} inside the image`,
    notFound: false,
  });
  if (!saysNoSpace(failure.stderr)) return error;
  return new ImageBuilderError('image.full', `the file system of the image is full: ${error.logTail.at(-1)}`, {
    cause: error,
    logTail: error.logTail,
  });
}

/** Our own scripts take seconds. An image that keeps one busy for longer counts as hostile. */
export const ownLimitMs = 10 * 60_000;

/** The script that puts files into the image that it needs while it is open. */
export function borrowScript({ loans = [], changedSince }: Pick<GuestDisk, 'loans' | 'changedSince'>): GuestScript {
  const text = [guestScripts.borrow, ...loans, 'lent\n'].join('\n');
  const since = changedSince === undefined ? {} : { arguments: [String(changedSince)] };
  return { name: 'borrow', text, timeoutMs: ownLimitMs, ...since };
}

/**
 * The error of the image when `borrowScript` fails: `image.corrupt`, `image.full` or `image.unsupported`; other errors as
 * they are.
 */
export function borrowError(error: unknown): unknown {
  if (error instanceof ImageBuilderError && error.code === 'image.full') {
    const message = 'the file system of the image is full before anything is installed';
    const advice = 'ask for a larger disk with disk_size, or take a base image with more room';
    return new ImageBuilderError('image.full', `${message}; ${advice}`, { cause: error, logTail: error.logTail });
  }
  if (!(error instanceof ExecError) || error.exitCode === undefined || error.timedOut) return error;
  // The first program of the image that is started.
  if (/exec format error/i.test(error.stderr)) {
    return foreignImage(null, error);
  }
  const corrupt = lineAfter(error.stderr, 'corrupt: ');
  const reason =
    corrupt ??
    lineAfter(error.stderr, 'unsupported: ') ??
    `the image cannot be made ready for changes: ${error.logTail.at(-1) ?? `exit code ${error.exitCode}`}`;
  // Root may do all else to the image's files.
  const isLocked = reason.endsWith('Operation not permitted');
  const advice = isLocked ? '; the file or its folder is kept from changes: end that there (chattr -i, chattr -a)' : '';
  return new ImageBuilderError(corrupt === undefined ? 'image.unsupported' : 'image.corrupt', `${reason}${advice}`, {
    cause: error,
    logTail: error.logTail,
  });
}

/** The error when processes inside an image took `tooMuch`, such as `memory than the 64 MiB that SETTING allows`. */
export function limitError(tooMuch: string, logTail: readonly string[] = []): ImageBuilderError {
  return new ImageBuilderError('guest.limit', `what runs inside the image took more ${tooMuch}`, { logTail });
}

/** For `limitError`. */
export function tooManyProcesses(limit: number): string {
  return `processes than the ${limit} that IMAGEBUILDER_GUEST_PROCESSES allows`;
}

/** The error of an image whose file system found itself damaged while it was changed. */
export function fileSystemErrors(): ImageBuilderError {
  return new ImageBuilderError(
    'image.corrupt',
    'the file system of the image reported errors while it was being changed',
  );
}

/** Names of the regular files in a folder of the worker, for the `folder` of a script. */
export async function fileNames(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}
