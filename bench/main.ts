import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { z } from 'zod';
import { loadConfig } from '#lib/config.ts';
import { toImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import { createHttpClient } from '#lib/fetch/client.ts';
import { createEgress } from '#lib/fetch/egress.ts';
import { chooseGuest } from '#lib/guest/choose.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { createLog } from '#lib/log.ts';
import { createFileStore } from '#lib/store/file.ts';
import { formatBytes, table } from '#lib/text.ts';
import { makeBaseImage } from '../test/images/base-image.ts';
import { serveFile } from '../test/servers/image-server.ts';
import { startLaunchpad } from '../test/servers/launchpad.ts';
import { measureImageBuilder } from './image-builder.ts';
import { benchPpa, benchRequest, packages, ppaName } from './job.ts';
import { makeAppliance, measureVirtCustomize, prepareLibguestfs } from './libguestfs.ts';
import { type Measurement, median, medianSteps } from './measure.ts';
import { measureRepack, type RepackMeasurement } from './repack.ts';
import { measureUpload } from './upload.ts';

/**
 * `npm run bench`: one job done by Image Builder and by virt-customize with qemu-img, in turns, on the same base image
 * and through the same warm cache of packages, so that the network takes no part. Nothing is asserted: it prints.
 */

const root = dirname(import.meta.dirname);
const cacheDirectory = join(root, '.cache', 'bench');

const {
  rounds,
  kvm = false,
  upload = false,
} = new Command('npm run bench --')
  .description('Times builds, step by step, against virt-customize and qemu-img doing the same.')
  .option('--rounds <n>', 'how often each is timed', wholeNumber, 3)
  .option('--kvm', 'let virt-customize use KVM, where it works')
  .option('--upload', 'time uploads of 1 GiB to a real Glance against curl instead')
  .parse()
  .opts<{ rounds: number; kvm?: true; upload?: true }>();

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => interrupted.abort(new Error(`stopped by ${name}`)));
}
const { signal } = interrupted;

try {
  if (upload) await timeUploads();
  else await timeBuilds();
} catch (error) {
  const { message, logTail } = toImageBuilderError(error);
  console.error([`bench: ${message}`, ...logTail.map((line) => `  | ${line}`)].join('\n'));
  process.exitCode = signal.aborted ? 130 : 1;
}

async function timeUploads(): Promise<void> {
  await mkdir(cacheDirectory, { recursive: true });
  const directory = await mkdtemp(join(cacheDirectory, 'upload-'));
  try {
    const onProgress = (line: string) => console.error(line);
    const result = await measureUpload({ directory, bytes: 1024 ** 3, rounds, signal, onProgress });
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

async function timeBuilds(): Promise<void> {
  await mkdir(cacheDirectory, { recursive: true });
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(cacheDirectory, 'run-'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const say = (line: string) => console.error(line);

  const image = await makeBaseImage({
    cacheDirectory: join(root, '.cache', 'base-images'),
    onLine: say,
    signal,
  });
  const series = image.codename;
  const site = cleanup.use(await serveFile(image.path));
  const launchpad = cleanup.use(await startLaunchpad({ ppas: [benchPpa(series)], directory: join(directory, 'ppa') }));
  const settings = loadConfig({
    IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
    IMAGEBUILDER_CACHE_DIRECTORY: join(cacheDirectory, 'builder'),
    IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
    IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
    IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
    IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
  });
  for (const folder of [settings.workDirectory, settings.cacheDirectory]) await mkdir(folder, { recursive: true });
  const egress = createEgress({ allowLoopback: true, allowedHosts: [] });
  const client = cleanup.use(
    createHttpClient({
      egress,
      connectTimeoutMs: settings.connectTimeoutMs,
      stallTimeoutMs: settings.stallTimeoutMs,
      userAgent: 'imagebuilder-bench',
    }),
  );
  const aptCache = await createAptCache({
    client,
    cacheDirectory: settings.cacheDirectory,
    cacheBytes: settings.aptCacheBytes,
  });
  const log = createLog({ level: 'warn' });
  const guest = await chooseGuest({
    setting: settings.guest,
    directory: settings.workDirectory,
    vm: settings,
    host: settings,
    log,
  });
  const tools = {
    client,
    aptCache,
    chooseGuest: async () => guest,
    store: createFileStore(settings.storeDirectory),
    settings,
  };
  const build = () => measureImageBuilder({ request: benchRequest(site.url, series), tools, directory, log, signal });

  const guestfs = cleanup.use(await prepareLibguestfs({ directory: join(directory, 'libguestfs'), kvm, signal }));
  const proxy = cleanup.use(await startAptProxy({ client, cache: aptCache, signal }));
  const signingKey = await client.getJson(
    `${launchpad.apiUrl}/~${ppaName.owner}/+archive/ubuntu/${ppaName.name}?ws.op=getSigningKeyData`,
    { signal, maximumBytes: 1024 * 1024 },
  );
  const customize = () =>
    measureVirtCustomize(guestfs, {
      basePath: image.path,
      packages,
      ppaUrl: `${launchpad.ppaUrl}/${ppaName.owner}/${ppaName.name}/ubuntu`,
      key: z.string().parse(signingKey),
      series,
      proxyUrl: proxy.url,
      directory,
      signal,
    });

  say('Warming up: one build fills the caches, libguestfs makes its appliance …');
  await build();
  const applianceSeconds = await makeAppliance(guestfs, image.path, signal);

  const base = await inspectImage(image.path, { maximumVirtualBytes: settings.maximumVirtualBytes, signal });
  const ours: (Measurement & { sizeBytes: number })[] = [];
  const theirs: Measurement[] = [];
  const repacks: RepackMeasurement[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    say(`Round ${round} of ${rounds} …`);
    ours.push(await build());
    const customized = await customize();
    theirs.push(customized);
    const { overlayPath } = customized;
    repacks.push(...(await measureRepack({ basePath: image.path, base, overlayPath, directory, signal })));
  }
  console.log(await report({ ours, theirs, repacks, applianceSeconds, baseBytes: image.sizeBytes }));
}

async function report(results: {
  readonly ours: readonly Measurement[];
  readonly theirs: readonly Measurement[];
  readonly repacks: readonly RepackMeasurement[];
  readonly applianceSeconds: number;
  readonly baseBytes: number;
}): Promise<string> {
  const { ours, theirs, repacks } = results;
  const total = (runs: readonly Measurement[]) => median(runs.map((run) => run.totalSeconds));
  const peak = (runs: readonly Measurement[]) => formatBytes(median(runs.map((run) => run.peakBytes)));
  const steps = medianSteps(ours);
  const step = (name: string) => steps.get(name) ?? 0;
  const apt = step('sources') + step('install');
  const overhead = total(ours) - apt - step('repack') - step('upload');
  const share = (seconds: number) => [seconds.toFixed(2), `${Math.round((100 * seconds) / total(ours))} %`];

  const methods = [...new Set(repacks.map((entry) => entry.method))].map((method) => {
    const runs = repacks.filter((entry) => entry.method === method);
    return {
      method,
      seconds: median(runs.map((run) => run.seconds)),
      size: formatBytes(median(runs.map((run) => run.sizeBytes))),
    };
  });
  const fastest = methods[0]?.seconds ?? Number.NaN;
  return [
    `Medians of ${rounds} rounds in turns; base image ${formatBytes(results.baseBytes)}; ${packages.join(' ')}`,
    '',
    ...table([
      ['', 'seconds', 'peak memory', 'against Image Builder'],
      ['Image Builder', total(ours).toFixed(2), peak(ours), '1.0'],
      [
        'virt-customize + qemu-img convert -c',
        total(theirs).toFixed(2),
        peak(theirs),
        (total(theirs) / total(ours)).toFixed(1),
      ],
      ...[...medianSteps(theirs)].map(([name, seconds]) => [`  ${name}`, seconds.toFixed(2), '', '']),
    ]),
    `(its appliance was made beforehand, once, in ${results.applianceSeconds.toFixed(0)} s)`,
    '',
    ...table([
      ['Image Builder, step by step', 'seconds', 'share'],
      ...[...steps].map(([name, seconds]) => [`  ${name}`, ...share(seconds)]),
      ['  apt itself (sources and install)', ...share(apt)],
      ['  overhead (all but apt, repack and upload)', ...share(overhead)],
    ]),
    '',
    ...table([
      ['Repacking the same changes', 'seconds', 'size', 'against delta append'],
      ...methods.map(({ method, seconds, size }) => [
        `  ${method}`,
        seconds.toFixed(2),
        size,
        (seconds / fastest).toFixed(1),
      ]),
    ]),
    '',
    ...(await versions()),
  ].join('\n');
}

async function versions(): Promise<string[]> {
  const first = async (file: string) => (await exec(file, ['--version'])).stdout.split('\n')[0] ?? '';
  return [
    `${cpus().length} processors (${cpus()[0]?.model ?? 'unknown'}), ${formatBytes(totalmem())}, Linux ${release()}`,
    `Node ${process.version}; ${await first('qemu-img')}; ${await first('virt-customize')}, ${kvm ? 'KVM' : 'TCG'}`,
  ];
}

function wholeNumber(text: string): number {
  if (/^[1-9][0-9]?$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number from 1 to 99.');
}
