import type { BuildStatus } from '#lib/api/status.ts';
import { requireBuildId } from '#lib/client/build-id.ts';
import type { Client } from '#lib/client/client.ts';
import { type FollowOptions, followBuild } from '#lib/client/follow.ts';
import { presentBuild, presentJson } from '#lib/client/present.ts';
import { explainFaults } from '#lib/client/request-source.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { plain } from '#lib/text.ts';
import { type BuildHereOptions, buildHere } from './build-here.ts';
import { type RequestOptions, readBuildRequest } from './build-request.ts';
import { type GatewayOptions, openClient } from './gateway.ts';
import { interrupted } from './interrupted.ts';

/** Commands that submit, follow and end builds. Each resolves with its exit code. */

export interface BuildOptions extends GatewayOptions, BuildHereOptions, RequestOptions {
  readonly follow: boolean;
  readonly cancelOnInterrupt?: boolean;
  readonly json?: boolean;
  readonly here?: boolean;
}

export type RetryOptions = GatewayOptions & Pick<BuildOptions, 'follow' | 'cancelOnInterrupt' | 'json'>;

/** `status` knows a build a moment after it was accepted. */
const appearsWithinMs = 60_000;

export async function build(options: BuildOptions): Promise<number> {
  const { request, source } = await readBuildRequest(options);
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
