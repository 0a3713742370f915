import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { createLogUpdate } from 'log-update';
import type { BuildStatus } from '#lib/api/status.ts';
import { pause } from '#lib/async.ts';
import { type Client, createClient } from '#lib/client/client.ts';
import { followBuild } from '#lib/client/follow.ts';
import { presentBuild, presentJson } from '#lib/client/present.ts';
import { describeStatus } from '#lib/client/report.ts';
import { requestFromFlags } from '#lib/client/request.ts';
import { ImageBuilderError } from '#lib/errors.ts';
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

const interrupted = 130;
/** `status` knows a build a moment after it was accepted. */
const appearsWithinMs = 60_000;
const statusIntervalMs = 2_000;

/** Each command resolves with its exit code. */
export async function build(options: BuildOptions): Promise<number> {
  const request = options.request === undefined ? await fromFlags(options) : await readRequest(options);
  if (options.here) return await buildHere(request, options);
  const client = await openClient(options);
  const { accepted, created } = await client.submit(request);
  const buildId = accepted.build_id;
  if (!options.follow) {
    process.stdout.write(options.json ? `${JSON.stringify(accepted)}\n` : `${buildId}\n`);
    return 0;
  }
  if (!created) process.stderr.write(`The same request is in work already, as build ${buildId}\n`);
  return await follow(options, buildId, appearsWithinMs);
}

export async function watch(buildId: string, options: GatewayOptions & { json?: boolean }): Promise<number> {
  return await follow(options, buildId, 0);
}

export async function cancel(buildId: string, options: GatewayOptions): Promise<number> {
  await (await openClient(options)).cancel(buildId);
  process.stdout.write(`Build ${buildId} is being cancelled\n`);
  return 0;
}

export async function status(
  options: GatewayOptions & { ticketId?: string; buildId?: string; watch?: boolean; json?: boolean },
): Promise<number> {
  const interrupt = new AbortController();
  const client = await openClient(options, interrupt.signal);
  const show = async () => {
    const answer = await client.status(options);
    return options.json ? JSON.stringify(answer) : describeStatus(answer);
  };
  if (!options.watch) {
    process.stdout.write(`${await show()}\n`);
    return 0;
  }
  process.once('SIGINT', () => interrupt.abort());
  const redraw = process.stdout.isTTY && !options.json ? createLogUpdate(process.stdout) : undefined;
  let shown = '';
  while (!interrupt.signal.aborted) {
    try {
      shown = await show();
      if (redraw === undefined) process.stdout.write(`${shown}\n`);
      else redraw(shown);
    } catch (error) {
      if (interrupt.signal.aborted) break;
      // The gateway was there already, so it may be away for a while.
      if (shown === '' || !(error instanceof ImageBuilderError) || !error.retryable) throw error;
      const notice = `${error.message}; waiting`;
      if (redraw === undefined) process.stderr.write(`${notice}\n`);
      else redraw(`${shown}\n\n${notice}`);
    }
    await pause(statusIntervalMs, interrupt.signal);
  }
  redraw?.done();
  return interrupted;
}

async function follow(
  options: GatewayOptions & { json?: boolean; cancelOnInterrupt?: boolean },
  buildId: string,
  appearsWithin: number,
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
    const updates = followBuild(client, buildId, { appearsWithinMs: appearsWithin, signal: leave.signal });
    const end: BuildStatus = await (options.json
      ? presentJson(updates, process.stdout)
      : presentBuild(updates, {
          progress: process.stderr,
          result: process.stdout,
          color: process.stderr.hasColors?.() === true,
          unicode: /utf-?8/i.test(process.env.LC_ALL || process.env.LC_CTYPE || process.env.LANG || ''),
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
    throw new ImageBuilderError('request.invalid', `--url must be an http or https URL, not "${options.url}"`);
  }
  const token =
    options.tokenFile === undefined ? undefined : (await readText(options.tokenFile, '--token-file')).trim();
  return createClient({
    url: options.url,
    ...(token === undefined ? {} : { token }),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function fromFlags(options: BuildOptions): Promise<Record<string, unknown>> {
  const { imageUrl: imageUrls = [], ppa: ppas = [], package: packages = [] } = options;
  const { debconfSelections: file, foreignArchitecture: foreignArchitectures } = options;
  // Answers may be passwords, which do not belong into the arguments of a command.
  const debconf = file === undefined ? {} : { debconf: await readText(file, '--debconf-selections') };
  const foreign = foreignArchitectures === undefined ? {} : { foreignArchitectures };
  const flags = { ...options, imageUrls, ppas, packages, ...debconf, ...foreign };
  return requestFromFlags(flags, () => `command-${randomUUID()}`);
}

async function readRequest(options: BuildOptions): Promise<unknown> {
  const { request = '-' } = options;
  if (options.package !== undefined && options.package.length > 0) {
    throw new ImageBuilderError(
      'request.invalid',
      '--request holds the whole request: packages cannot be named beside it',
    );
  }
  const text = request === '-' ? await readAll(process.stdin) : await readText(request, '--request');
  try {
    return JSON.parse(text);
  } catch (error) {
    const where = request === '-' ? 'what came by standard input' : request;
    throw new ImageBuilderError('request.malformed', `${where} is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

async function readText(file: string, flag: string): Promise<string> {
  return await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    const reason = error.code === 'ENOENT' ? 'it does not exist' : error.message;
    throw new ImageBuilderError('request.invalid', `${flag} ${file} cannot be read: ${reason}`, { cause: error });
  });
}
