import { cpus, loadavg, release, totalmem } from 'node:os';
import { exec } from '#lib/exec.ts';
import type { Accelerator } from '#lib/guest/vm/machine.ts';
import { formatBytes, table } from '#lib/text.ts';
import type { BuildsResult, Rival } from './builds.ts';
import type { BuildMeasurement } from './image-builder.ts';
import { packages } from './job.ts';
import { type Measurement, median, medianRatio, medianSteps } from './measure.ts';

/** Steps that any tool has to do. The time of all others is Image Builder's own: its overhead. */
const work = ['sources', 'install', 'repack', 'upload'];

type Runs = readonly BuildMeasurement[];

const secondsOf = (runs: Runs) => runs.map(({ totalSeconds }) => totalSeconds);
const processorOf = (runs: Runs) => runs.map(({ processorSeconds }) => processorSeconds);
const overheadOf = ({ steps, totalSeconds }: Measurement) =>
  totalSeconds - work.reduce((sum, name) => sum + (steps[name] ?? 0), 0);
const rivalNames: Readonly<Record<Rival, string>> = {
  'bare-script': 'bare script, as root',
  'virt-customize': 'virt-customize + qemu-img convert -c',
};

/** The results of \`measureBuilds\` as text. */
export async function reportBuilds(results: BuildsResult): Promise<string> {
  const { ours, baseBytes, applianceSeconds, repacks } = results;
  const rounds = ours[0]?.runs.length ?? 0;
  return [
    `Medians of ${rounds} rounds in turns; base image ${formatBytes(baseBytes)}; ${packages.cloud.join(' ')}`,
    '',
    ...table(compare(results)),
    '(Shares are medians of those of each round.)',
    ...(applianceSeconds === 0
      ? []
      : [`(The appliance of virt-customize was made beforehand, in ${applianceSeconds.toFixed(0)} s.)`]),
    '',
    ...table(stepByStep(results)),
    '',
    ...(repacks.length === 0 ? [] : [...table(repacking(results)), '']),
    ...(await describeMachine(
      results.accelerator,
      applianceSeconds === 0 ? ['qemu-img'] : ['qemu-img', 'virt-customize'],
    )),
  ].join('\n');
}

/** Each build and rival, with its shares of each rival. */
function compare({ ours, theirs, accelerator }: BuildsResult): string[][] {
  const shares = (runs: Runs, of: (runs: Runs) => number[]) =>
    theirs.map((rival) => medianRatio(of(runs), of(rival.runs)).toFixed(3));
  const row = (name: string, runs: Runs) => [
    name,
    ...[median(secondsOf(runs)).toFixed(2), ...shares(runs, secondsOf)],
    ...[median(processorOf(runs)).toFixed(2), ...shares(runs, processorOf)],
    formatBytes(median(runs.map(({ peakBytes }) => peakBytes))),
  ];
  const how = accelerator.toUpperCase();
  const names = theirs.map(({ rival }) => `of ${rival}`);
  return [
    ['', 'seconds', ...names, 'processor (s)', ...names, 'peak memory'],
    ...ours.flatMap(({ guest, runs, again, shared }) => [
      row(`Image Builder, ${guest === 'vm' ? `vm guest (${how}), unprivileged` : 'host guest'}`, runs),
      row('  all packages shared but one', shared),
      row('  the same again', again),
    ]),
    ...theirs.flatMap(({ rival, runs }) => [
      row(rivalNames[rival], runs),
      ...Object.entries(medianSteps(runs)).map(([name, seconds]) => [`  ${name}`, seconds.toFixed(2)]),
    ]),
  ];
}

function stepByStep({ ours }: BuildsResult): string[][] {
  const columns = ours.map(({ guest, runs }) => ({
    guest,
    steps: medianSteps(runs),
    total: median(secondsOf(runs)),
    overhead: median(runs.map(overheadOf)),
  }));
  const names = [...new Set(columns.flatMap(({ steps }) => Object.keys(steps)))];
  const row = (name: string, values: readonly number[]) => [name, ...values.map((seconds) => seconds.toFixed(2))];
  return [
    ['Image Builder, step by step (seconds)', ...columns.map(({ guest }) => `${guest} guest`)],
    ...names.map((name) =>
      row(
        `  ${name}`,
        columns.map(({ steps }) => steps[name] ?? 0),
      ),
    ),
    row(
      `  overhead: all but ${work.join(', ')}`,
      columns.map(({ overhead }) => overhead),
    ),
  ];
}

function repacking({ repacks }: BuildsResult): string[][] {
  const seconds = (method: string) => repacks.filter((entry) => entry.method === method).map((entry) => entry.seconds);
  const [first = ''] = repacks.map(({ method }) => method);
  return [
    ['Repacking the changes of virt-customize', 'seconds', 'size', 'times delta append'],
    ...[...new Set(repacks.map(({ method }) => method))].map((method) => {
      const sizes = repacks.filter((entry) => entry.method === method).map(({ sizeBytes }) => sizeBytes);
      const ratio = medianRatio(seconds(method), seconds(first));
      return [`  ${method}`, median(seconds(method)).toFixed(2), formatBytes(median(sizes)), ratio.toFixed(1)];
    }),
  ];
}

/** The machine, the versions of these tools, and how vms run. */
export async function describeMachine(accelerator: Accelerator | null, tools: readonly string[]): Promise<string[]> {
  const first = async (file: string) => {
    const { stdout } = await exec(file, [file === 'mksquashfs' ? '-version' : '--version'], { okExitCodes: [0, 1] });
    return stdout.split('\n')[0] ?? '';
  };
  const how = accelerator === null ? [] : [accelerator.toUpperCase()];
  return [
    `${new Date().toISOString().slice(0, 10)}: ${cpus().length} processors (${cpus()[0]?.model ?? 'unknown'}), ${formatBytes(totalmem())}, Linux ${release()}, load ${loadavg()[0]?.toFixed(1)}`,
    [`Node ${process.version}`, ...(await Promise.all(tools.map(first))), ...how].join('; '),
  ];
}
