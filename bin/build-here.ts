import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { type BuildStep, stepsToStopAt } from '#lib/api/event.ts';
import { type BuildRequest, parseBuildRequest } from '#lib/api/request.ts';
import { describeImage } from '#lib/client/report.ts';
import { loadConfig } from '#lib/config/load.ts';
import { type Fault, ImageBuilderError, toImageBuilderError } from '#lib/errors.ts';
import { ExecError } from '#lib/exec.ts';
import { openPrivateFolder } from '#lib/folders/private-folder.ts';
import { type FolderOfBuilds, foldersOfBuilds } from '#lib/folders/settings.ts';
import type { ScriptRunner } from '#lib/guest/guest.ts';
import { readRoom } from '#lib/limits/space-usage.ts';
import { createLog } from '#lib/log.ts';
import type { EndedStep, Stop, Visitor } from '#lib/pipeline/context.ts';
import { openBuildTools } from '#lib/pipeline/open-tools.ts';
import type { BuildReporter } from '#lib/pipeline/reporter.ts';
import { runBuild } from '#lib/pipeline/run-build.ts';
import { chooseStores } from '#lib/store/choose.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import { formatBytes, plain, quoted } from '#lib/text.ts';
import type { Span, Tracer } from '#lib/trace/span.ts';
import { openTracer } from '#lib/trace/tracer.ts';
import { parseTraceContext, traceFields } from '#lib/trace-context.ts';
import { version } from '#lib/version.ts';
import { describePlan } from './describe-plan.ts';
import { interrupted } from './interrupted.ts';

/** Runs one build in this process, without RabbitMQ, to look into its faults. */

export interface BuildHereOptions {
  /** The last step that runs. */
  readonly until?: string;
  /** Folder that gets the work directory, which stays. */
  readonly keep?: string;
  /** Runs lines of standard input inside the image, after `until` or `install`, and after a step that has failed. */
  readonly shell?: boolean;
  /** Ends the build with what it would change. */
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

const adviceHere = {
  request: 'That is a fault of the request: change it.',
  upstream: 'That is a fault of a server that the build depends on.',
  service: 'That is a fault of this machine or of its settings; `imagebuilder doctor` looks at both.',
} as const satisfies Record<Fault, string>;

/** Ends a build after its last wanted step. */
class EnoughSteps extends Error {}

/** Resolves with the exit code. Throws `request.invalid` for a wrong request or step. */
export async function buildHere(body: unknown, options: BuildHereOptions): Promise<number> {
  const request = parseBuildRequest(body);
  const until = options.until === undefined ? null : stepOf(options.until);
  const config = loadConfig();
  const { egress, guest, http, image, limits, packages, provenance, tools, verification } = config;
  const folders = {
    ...config.folders,
    ...(options.keep === undefined ? {} : { workDirectory: resolve(options.keep) }),
  };
  const openStack = await readOpenStackConfiguration({ environment: process.env, ...config.openStack });
  const secrets = [...config.log.secrets, ...(openStack?.secrets ?? [])];
  const log = createLog({ level: 'warn', secrets });
  const userAgent = `imagebuilder/${version}`;
  const storeSettings = { ...folders, ...config.store, ...http };
  const { stores, for: storeFor } = chooseStores({ settings: storeSettings, openStack, userAgent, log });
  for (const folder of foldersOfBuilds(folders, { fileStore: stores.some(({ directory }) => directory !== null) }))
    await openPrivateFolder(folder, { log });
  const settings = { egress, folders, guest, http, image, limits, packages, provenance, tools, verification };
  await using buildTools = await openBuildTools({ settings, storeFor, userAgent, log });
  await using tracer = await openTracer({ ...config.tracing, service: 'imagebuilder-build-here', secrets, log });
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort(new ImageBuilderError('build.cancelled', 'interrupted')));
  const visitor = createVisitor(until, options);
  const buildId = randomUUID();
  const span = startSpan(tracer, buildId, request);
  const onStepEnd = ({ step, startedAt, endedAt, error }: EndedStep) =>
    span.part(step, startedAt, endedAt, error?.cause instanceof EnoughSteps ? null : error);
  const context = {
    ...{ signal: interrupt.signal, reporter: consoleReporter(), visitor, onStepEnd },
    log: log.with(traceFields(span.context)),
  };
  try {
    const { image } = await runBuild({ buildId, request, caller: null }, buildTools, context);
    span.end(null);
    process.stdout.write(
      options.json ? `${JSON.stringify(image)}\n` : `${['The image is built', ...describeImage(image)].join('\n')}\n`,
    );
    return 0;
  } catch (error) {
    if (error instanceof EnoughSteps) {
      span.end(null);
      return 0;
    }
    const reason = toImageBuilderError(interrupt.signal.aborted ? interrupt.signal.reason : error);
    span.end(reason);
    if (interrupt.signal.aborted) return interrupted;
    const { code, message, fault } = reason;
    const rooms =
      code === 'disk.full' || code === 'disk.small'
        ? await describeRooms(foldersOfBuilds(folders, { fileStore: true }))
        : [];
    const lines = [`The build failed: ${plain(message)} (${code})`, `  ${adviceHere[fault]}`, ...rooms];
    process.stderr.write(`${lines.join('\n')}\n`);
    return 1;
  } finally {
    if (options.keep !== undefined) process.stderr.write(`The work directory is in ${folders.workDirectory}\n`);
  }
}

/** The build as a span, in the trace of the variables `TRACEPARENT` and `TRACESTATE`. */
function startSpan(tracer: Tracer, buildId: string, request: BuildRequest): Span {
  const { TRACEPARENT: traceparent, TRACESTATE: tracestate } = process.env;
  const parent = parseTraceContext({ ...(traceparent && { traceparent }), ...(tracestate && { tracestate }) });
  const { image_type, series } = request.base_image;
  return tracer.start('build', 'internal', parent, {
    'imagebuilder.build.id': buildId,
    'imagebuilder.ticket.id': String(request.ticket_id),
    'imagebuilder.image.type': image_type,
    'imagebuilder.image.series': series,
  });
}

async function describeRooms(folders: readonly FolderOfBuilds[]): Promise<string[]> {
  return await Promise.all(
    folders.map(async ({ path }) => {
      const { freeBytes, totalBytes } = await readRoom(path);
      return `  ${path}: ${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`;
    }),
  );
}

function stepOf(name: string): BuildStep {
  const step = stepsToStopAt.find((known) => known === name);
  if (step !== undefined) return step;
  throw new ImageBuilderError(
    'request.invalid',
    `--until must be a step (${stepsToStopAt.join(', ')}), not ${quoted(name)}`,
  );
}

function createVisitor(until: BuildStep | null, options: BuildHereOptions): Visitor {
  const { keep, shell = false, dryRun = false, json = false } = options;
  const isWanted = ({ step, failed }: Stop) => failed || step === (until ?? 'install');
  return {
    keepWorkDirectory: keep !== undefined,
    ...(dryRun
      ? {
          onPlan(plan) {
            process.stdout.write(`${json ? JSON.stringify(plan) : describePlan(plan).join('\n')}\n`);
            throw new EnoughSteps('a dry run changes nothing');
          },
        }
      : {}),
    async visit(stop) {
      if (shell && stop.inside !== null && isWanted(stop)) await runShell(stop.inside);
      if (stop.step === until && !stop.failed) throw new EnoughSteps(`the build ends after the step ${until}`);
    },
  };
}

/** Runs lines of standard input inside the image, each by a shell of its own, until its end or `exit`. */
async function runShell(inside: ScriptRunner): Promise<void> {
  process.stderr.write('A shell for each line, as root inside the image; `exit` or Ctrl-D goes on with the build.\n');
  const input = createInterface({ input: process.stdin, output: process.stderr, prompt: 'image# ' });
  // A prompt after the end of the input would be an error.
  let ended = false;
  input.once('close', () => {
    ended = true;
  });
  try {
    input.prompt();
    for await (const text of input) {
      if (text.trim() === 'exit') return;
      await runLine(inside, text);
      if (!ended) input.prompt();
    }
  } finally {
    input.close();
  }
}

async function runLine(inside: ScriptRunner, text: string): Promise<void> {
  const write = (line: string) => process.stderr.write(`${plain(line)}\n`);
  try {
    await inside.run({ name: 'shell', text, onLine: write });
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    write(`exit code ${error.exitCode ?? error.signalName}`);
  }
}

function consoleReporter(): BuildReporter {
  const write = (line: string) => process.stderr.write(`${plain(line)}\n`);
  return {
    begin: (step, message) => write(`${step}: ${message}`),
    progress() {},
    notice: (message) => write(`  ${message}`),
    log: (line) => write(`  ${line}`),
    guest: ({ kind, reason }) => write(`  the image is opened by the ${kind} guest: ${reason}`),
  };
}
