import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { toImageBuilderError } from '#lib/errors.ts';
import { formatBytes, table } from '#lib/text.ts';
import { type BuildsOptions, measureBuilds } from './builds.ts';
import { measureCd } from './cd/measure.ts';
import { reportCd } from './cd/report.ts';
import { measureColdStarts, reportColdStarts } from './cold-start.ts';
import { measureParts, reportParts } from './described.ts';
import type { GuestKind } from './image-builder.ts';
import { measurePage } from './page.ts';
import { reportBuilds } from './report.ts';
import { type ImageSize, imageSizes, measureSizes } from './sizes.ts';
import { reportSizes } from './sizes-report.ts';
import { measureStatus, reportStatus } from './status.ts';
import { measureSubmission, reportSubmission } from './submission.ts';
import { measureTouch } from './touch/measure.ts';
import { reportTouch } from './touch/report.ts';
import { measureUpload } from './upload.ts';

/**
 * `npm run bench`: compares the time of Image Builder with that of other tools for the same job. It asserts nothing, it
 * only prints.
 */

const root = dirname(import.meta.dirname);

const {
  kind,
  rounds,
  guest,
  upload = false,
  status = false,
  submission = false,
  coldStart = false,
  page = false,
  documents = false,
  floor = false,
  sizes,
} = new Command('npm run bench --')
  .description('Times builds, step by step, against other tools doing the same.')
  .addOption(
    new Option(
      '--kind <kind>',
      'images of clouds (against a bare script, as root, and virt-customize), or CD or touch images (by hand, as root)',
    )
      .choices(['cloud', 'cd', 'touch'])
      .default('cloud'),
  )
  .option('--rounds <n>', 'how often each is timed', wholeNumber, 3)
  .addOption(
    new Option('--guest <guest...>', 'which guests to time (default: those that can run here)').choices(['host', 'vm']),
  )
  .option('--floor', 'compare with a bare shell script alone (as root)')
  .addOption(
    new Option(
      '--sizes [GiB...]',
      'time builds of base images of these sizes, with and without the image in the cache, and the bare script (as root) instead; makes the images, and keeps them in .cache/bench',
    ).choices(imageSizes),
  )
  .option('--documents', 'time builds with and without documents, logs, metrics and the list of changed files instead')
  .option(
    '--status',
    'time answers of the function `status` (all of it, one build, one ticket) at 500 calls a second, with up to 10,000 builds and 200 open streams',
  )
  .option(
    '--submission',
    'time submissions of builds, one after the other and 50 a second, with up to 10,000 known builds, against one message',
  )
  .option(
    '--cold-start',
    'time how a function reads 10,000 queued builds, and streams of a million events, at its start',
  )
  .option('--page', 'time the live page in Chromium with up to 1,000 builds')
  .option('--upload', 'time uploads of 1 GiB to a real Glance against curl instead')
  .parse()
  .opts<{
    kind: 'cloud' | 'cd' | 'touch';
    rounds: number;
    guest?: GuestKind[];
    upload?: true;
    status?: true;
    submission?: true;
    coldStart?: true;
    page?: true;
    documents?: true;
    floor?: true;
    sizes?: ImageSize[] | true;
  }>();

// The builder of the vm guest is another user, who reads what this one makes, also where the shell's umask is 077.
process.umask(0o022);

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => interrupted.abort(new Error(`stopped by ${name}`)));
}
const { signal } = interrupted;
const onLine = (line: string) => console.error(line);

try {
  if (upload) await timeUploads();
  else if (status) await timeStatus();
  else if (submission) await timeSubmission();
  else if (coldStart) await timeColdStart();
  else if (page) await timePage();
  else {
    const options = { root, guests: guest === undefined ? null : [...new Set(guest)], rounds, signal, onLine };
    if (kind === 'cd') console.log(await reportCd(await measureCd(options)));
    else if (kind === 'touch') console.log(await reportTouch(await measureTouch(options)));
    else if (sizes !== undefined) await timeSizes(options);
    else if (documents) console.log(table(reportParts(await measureParts(options))).join('\n'));
    else if (floor) console.log(await reportBuilds(await measureBuilds(options, ['bare-script'])));
    else console.log(await reportBuilds(await measureBuilds(options)));
  }
} catch (error) {
  const { message, logTail } = toImageBuilderError(error);
  console.error([`bench: ${message}`, ...logTail.map((line) => `  | ${line}`)].join('\n'));
  process.exitCode = signal.aborted ? 130 : 1;
}

async function timeSizes(options: BuildsOptions): Promise<void> {
  const wanted = sizes === undefined || sizes === true ? imageSizes : imageSizes.filter((size) => sizes.includes(size));
  console.log(await reportSizes(await measureSizes({ ...options, sizes: wanted })));
}

async function timeStatus(): Promise<void> {
  const loads = [
    ...(['status', 'build', 'ticket'] as const).map((asked) => ({ asked, streams: 0 })),
    { asked: 'status', streams: 200 } as const,
  ];
  const numbers = { numbersOfBuilds: [100, 10_000], loads, callsPerSecond: 500, seconds: 10 };
  const options = { ...numbers, signal, onProgress: onLine };
  console.log(table(reportStatus(await measureStatus(options))).join('\n'));
}

async function timeSubmission(): Promise<void> {
  const numbers = { numbersOfBuilds: [0, 10_000], inTurn: 1_000, callsPerSecond: [50], seconds: 20 };
  const options = { ...numbers, signal, onProgress: onLine };
  console.log(table(reportSubmission(await measureSubmission(options))).join('\n'));
}

async function timeColdStart(): Promise<void> {
  const million = { name: '1,000,000 events of 31,250 builds', builds: 31_250, eventsOf: () => 31 };
  const starts = [
    { name: '10,000 queued builds', builds: 10_000, eventsOf: () => 0, streamSize: '64M' },
    { ...million, streamSize: '64M' },
    { ...million, streamSize: '1G' },
  ];
  const options = { starts, signal, onProgress: onLine };
  console.log(table(reportColdStarts(await measureColdStarts(options))).join('\n'));
}

async function timePage(): Promise<void> {
  const options = { numbersOfBuilds: [50, 1_000], seconds: 15, signal, onProgress: onLine };
  const measured = await measurePage(options);
  const rows = measured.map(({ builds, nodes, heapBytes, workMs, scriptMs, layoutMs }) => [
    String(builds),
    String(nodes),
    formatBytes(heapBytes),
    workMs.toFixed(1),
    scriptMs.toFixed(1),
    layoutMs.toFixed(1),
  ]);
  const head = ['builds', 'nodes', 'memory of scripts', 'work (ms a second)', 'scripts', 'style and layout'];
  console.log(table([head, ...rows]).join('\n'));
}

async function timeUploads(): Promise<void> {
  const cacheDirectory = join(root, '.cache/bench');
  await mkdir(cacheDirectory, { recursive: true });
  const directory = await mkdtemp(join(cacheDirectory, 'upload-'));
  try {
    const result = await measureUpload({ directory, bytes: 1024 ** 3, rounds, signal, onProgress: onLine });
    const lines = table([
      [`Medians of ${rounds} uploads of ${formatBytes(result.bytes)} in turns`, 'seconds'],
      ['  Image Builder, verification included', result.imageBuilderSeconds.toFixed(2)],
      ['  curl', result.curlSeconds.toFixed(2)],
      ['  throughput against curl', result.ratio.toFixed(2)],
      ['  peak memory of the uploading process', formatBytes(result.peakBytes)],
    ]);
    console.log(lines.join('\n'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function wholeNumber(text: string): number {
  if (/^[1-9][0-9]?$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number from 1 to 99.');
}
