import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import type { BuildStatus, Status } from '#lib/api/status.ts';
import { pause } from '#lib/async.ts';
import { requireBuildId } from '#lib/client/build-id.ts';
import { type Client, createClient, type Token } from '#lib/client/client.ts';
import { type FollowOptions, followBuild } from '#lib/client/follow.ts';
import { isDrawable, openLive, writesUnicode } from '#lib/client/live.ts';
import { presentBuild, presentJson } from '#lib/client/present.ts';
import { debconfLines, type RequestFlags, requestFromFlags } from '#lib/client/request.ts';
import { explainFaults, type RequestSource } from '#lib/client/request-source.ts';
import { describePage, describeStatus, describeStatusIn, renderStatus } from '#lib/client/status-report.ts';
import { cutMark } from '#lib/client/view.ts';
import { ImageBuilderError, safeUrl } from '#lib/errors.ts';
import { plain, quoted } from '#lib/text.ts';
import { type BuildHereOptions, buildHere } from './build-here.ts';

export interface GatewayOptions {
  readonly url: string;
  readonly tokenFile?: string;
}

export interface BuildOptions extends GatewayOptions, BuildHereOptions {
  readonly imageUrl?: readonly string[];
  readonly series?: string;
  readonly checksum?: string;
  readonly ppa?: readonly string[];
  readonly package?: readonly string[];
  readonly outputFormat?: string;
  /** Path of a file for debconf-set-selections. */
  readonly debconfSelections?: string;
  readonly foreignArchitecture?: readonly string[];
  readonly allowDowngrades?: boolean;
  readonly hold?: readonly string[];
  readonly bootCheck?: boolean;
  readonly diskSize?: string;
  readonly ticketId?: string;
  readonly progressTrigger?: string;
  readonly cancelUrl?: string;
  readonly callbackUrl?: string;
  readonly request?: string;
  readonly follow: boolean;
  readonly cancelOnInterrupt?: boolean;
  readonly json?: boolean;
  readonly here?: boolean;
}

export type RetryOptions = GatewayOptions & Pick<BuildOptions, 'follow' | 'cancelOnInterrupt' | 'json'>;

const interrupted = 130;
/** `status` knows a build a moment after it was accepted. */
const appearsWithinMs = 60_000;
const statusIntervalMs = 2_000;

/** Each command resolves with its exit code. */
export async function build(options: BuildOptions): Promise<number> {
  const { request, source } = options.request === undefined ? await fromFlags(options) : await readRequest(options);
  const explain = (error: unknown): never => {
    throw explainFaults(error, source);
  };
  if (options.here) return await buildHere(request, options).catch(explain);
  const client = await openClient(options);
  return await followSubmission(options, await client.submit(request).catch(explain));
}

export async function retry(text: string, options: RetryOptions): Promise<number> {
  const buildId = requireBuildId(text, 'BUILD_ID');
  const client = await openClient(options);
  return await followSubmission(options, await client.retry(buildId));
}

/** Writes the id of the build that a submission was answered with, or follows the build to its end. */
async function followSubmission(
  options: RetryOptions,
  { accepted, created }: Awaited<ReturnType<Client['submit']>>,
): Promise<number> {
  const buildId = accepted.build_id;
  if (!created) process.stderr.write(`The same request is in work already, as build ${buildId}\n`);
  for (const warning of accepted.warnings ?? []) process.stderr.write(`Warning: ${plain(warning)}\n`);
  if (!options.follow) {
    process.stdout.write(options.json ? `${JSON.stringify(accepted)}\n` : `${buildId}\n`);
    return 0;
  }
  return await follow(options, buildId, { appearsWithinMs });
}

export async function watch(text: string, options: GatewayOptions & { json?: boolean }): Promise<number> {
  return await follow(options, requireBuildId(text, 'BUILD_ID'), { gatewaySeen: false });
}

export async function cancel(text: string, options: GatewayOptions): Promise<number> {
  const buildId = requireBuildId(text, 'BUILD_ID');
  await (await openClient(options)).cancel(buildId);
  process.stdout.write(`Build ${buildId} is being cancelled\n`);
  return 0;
}

export interface ListOptions extends GatewayOptions {
  readonly state?: string;
  readonly ticketId?: string;
  readonly series?: string;
  readonly limit?: string;
  readonly cursor?: string;
  readonly json?: boolean;
}

export async function list(options: ListOptions): Promise<number> {
  const { state, ticketId, series, limit, cursor, json } = options;
  const query = { state, ticket_id: ticketId, series, limit, cursor };
  const client = await openClient(options);
  const page = await client.list(query).catch((error: unknown) => {
    throw explainFaults(error, { query });
  });
  const { stdout } = process;
  const columns = stdout.isTTY && stdout.columns > 0 ? stdout.columns : undefined;
  const mark = cutMark({ unicode: writesUnicode(process.env) });
  stdout.write(`${json ? JSON.stringify(page) : describePage(page, columns, mark)}\n`);
  return 0;
}

export async function status(
  options: GatewayOptions & { ticketId?: string; buildId?: string; watch?: boolean; json?: boolean },
): Promise<number> {
  const { ticketId } = options;
  const filter = {
    ...(ticketId === undefined ? {} : { ticketId }),
    ...(options.buildId === undefined ? {} : { buildId: requireBuildId(options.buildId, '--build-id') }),
  };
  const interrupt = new AbortController();
  const client = await openClient(options, interrupt.signal);
  const { stdout } = process;
  const describe = (answer: Status) => {
    if (options.json) return JSON.stringify(answer);
    if (!stdout.isTTY || !(stdout.columns > 0)) return describeStatus(answer);
    return describeStatusIn(answer, stdout.columns, cutMark({ unicode: writesUnicode(process.env) }));
  };
  if (!options.watch) {
    const answer = await client.status(filter).catch((error: unknown) => {
      throw explainFaults(error, { query: { ticket_id: ticketId } });
    });
    stdout.write(`${describe(answer)}\n`);
    return answer.status === 'ok' ? 0 : 1;
  }
  process.once('SIGINT', () => interrupt.abort());
  using live = !options.json && isDrawable(stdout, process.env) ? openLive(stdout, process.env) : null;
  let last: Status | undefined;
  while (!interrupt.signal.aborted) {
    try {
      const answer = await client.status(filter);
      last = answer;
      if (live === null) stdout.write(`${describe(answer)}\n`);
      else live.draw((screen) => renderStatus(answer, screen));
    } catch (error) {
      if (interrupt.signal.aborted) break;
      // The gateway was there already, so it may be away for a while.
      if (last === undefined || !(error instanceof ImageBuilderError) || !error.retryable) throw error;
      const shown = last;
      const notice = `${plain(error.message)}; waiting`;
      if (live === null) process.stderr.write(`${notice}\n`);
      else live.draw((screen) => renderStatus(shown, screen, notice));
    }
    await pause(statusIntervalMs, interrupt.signal);
  }
  return interrupted;
}

async function follow(
  options: GatewayOptions & { json?: boolean; cancelOnInterrupt?: boolean },
  buildId: string,
  first: Pick<FollowOptions, 'appearsWithinMs' | 'gatewaySeen'>,
): Promise<number> {
  const leave = new AbortController();
  const client = await openClient(options, leave.signal);
  let cancelling: Promise<void> | undefined;
  const onInterrupt = () => {
    if (options.cancelOnInterrupt !== true || cancelling !== undefined) return leave.abort();
    cancelling = openClient(options)
      .then((other) => other.cancel(buildId))
      .catch((error: unknown) => leave.abort(error));
  };
  process.on('SIGINT', onInterrupt);
  try {
    const updates = followBuild(client, buildId, { ...first, signal: leave.signal });
    const end: BuildStatus = await (options.json
      ? presentJson(updates, process.stdout)
      : presentBuild(updates, {
          progress: process.stderr,
          result: process.stdout,
          environment: process.env,
        }));
    return end.state === 'completed' ? 0 : 1;
  } catch (error) {
    if (!leave.signal.aborted) throw error;
    if (leave.signal.reason instanceof ImageBuilderError) throw leave.signal.reason;
    process.stderr.write(
      `The build goes on. Return to it with \`imagebuilder watch ${buildId}\`, cancel it with \`imagebuilder cancel ${buildId}\`.\n`,
    );
    return interrupted;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

async function openClient(options: GatewayOptions, signal?: AbortSignal): Promise<Client> {
  if (!URL.canParse(options.url) || !/^https?:$/.test(new URL(options.url).protocol)) {
    const given = URL.canParse(options.url) ? safeUrl(options.url) : options.url;
    throw new ImageBuilderError('request.invalid', `--url must be an http or https URL, not ${quoted(given)}`);
  }
  const token = options.tokenFile === undefined ? undefined : await readToken(options.tokenFile);
  return createClient({
    url: options.url,
    ...(token === undefined ? {} : { token }),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function readToken(file: string): Promise<Token> {
  const text = (await readText(file, '--token-file')).trim();
  if (/^[\x21-\x7e]+$/.test(text)) return { text, file };
  throw new ImageBuilderError(
    'request.invalid',
    `--token-file ${plain(file)} ${text === '' ? 'is empty' : 'must hold one token alone, of letters, digits and signs of ASCII'}`,
  );
}

/** A request as it is sent, and the place that its faults are named by. */
interface NamedRequest {
  readonly request: unknown;
  readonly source: RequestSource;
}

async function fromFlags(options: BuildOptions): Promise<NamedRequest> {
  const { imageUrl: imageUrls = [], ppa: ppas = [], package: packages = [] } = options;
  const { debconfSelections: file, foreignArchitecture: foreignArchitectures } = options;
  // Answers may be passwords, which do not belong into the arguments of a command.
  const debconf =
    file === undefined
      ? {}
      : { debconf: { path: file, lines: debconfLines(await readText(file, '--debconf-selections')) } };
  const foreign = foreignArchitectures === undefined ? {} : { foreignArchitectures };
  const flags: RequestFlags = { ...options, imageUrls, ppas, packages, ...debconf, ...foreign };
  return { request: requestFromFlags(flags, () => `command-${randomUUID()}`), source: { flags } };
}

async function readRequest(options: BuildOptions): Promise<NamedRequest> {
  const { request = '-' } = options;
  if (options.package !== undefined && options.package.length > 0) {
    throw new ImageBuilderError(
      'request.invalid',
      '--request holds the whole request: packages cannot be named beside it',
    );
  }
  const text = request === '-' ? await readAll(process.stdin) : await readText(request, '--request');
  const file = request === '-' ? 'standard input' : request;
  try {
    // Editors of Windows begin a file with a byte order mark.
    return { request: JSON.parse(text.replace(/^\ufeff/, '')), source: { file } };
  } catch (error) {
    throw new ImageBuilderError('request.malformed', `${file} is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

const unreadable: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a folder',
};

async function readText(file: string, flag: string): Promise<string> {
  return await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    const reason = unreadable[error.code ?? ''] ?? error.message;
    throw new ImageBuilderError('request.invalid', `${flag} ${file} cannot be read: ${reason}`, { cause: error });
  });
}
