import { cpus, loadavg, release, totalmem } from 'node:os';
import { exec } from '#lib/exec.ts';
import type { Accelerator } from '#lib/guest/vm/machine.ts';
import { formatBytes, table } from '#lib/text.ts';
import type { BuildsResult } from './builds.ts';
import { packages } from './job.ts';
import { type Measurement, median, medianRatio, medianSteps } from './measure.ts';

/** Steps that any tool has to do. The time of all others is Image Builder's own: its overhead. */
const work = ['sources', 'install', 'repack', 'upload'];

const secondsOf = (runs: readonly Measurement[]) => runs.map(({ totalSeconds }) => totalSeconds);
const bytesOf = (runs: readonly Measurement[]) => runs.map(({ peakBytes }) => peakBytes);
const overheadOf = ({ steps, totalSeconds }: Measurement) =>
  totalSeconds - work.reduce((sum, name) => sum + (steps[name] ?? 0), 0);

/** The results of `measureBuilds` as text. */
export async function reportBuilds(results: BuildsResult): Promise<string> {
  const { theirs, baseBytes, applianceSeconds } = results;
  return [
    `Medians of ${theirs.length} rounds in turns; base image ${formatBytes(baseBytes)}; ${packages.cloud.join(' ')}`,
    '',
    ...table(compare(results)),
    `(Shares are medians of those of each round. The appliance of virt-customize was made beforehand, in ${applianceSeconds.toFixed(0)} s.)`,
    '',
    ...table(stepByStep(results)),
    '',
    ...table(repacking(results)),
    '',
    ...(await describeMachine(results.accelerator, ['qemu-img', 'virt-customize'])),
  ].join('\n');
}

function compare({ ours, theirs, accelerator }: BuildsResult): string[][] {
  const row = (name: string, runs: readonly Measurement[]) => [
    name,
    median(secondsOf(runs)).toFixed(2),
    medianRatio(secondsOf(runs), secondsOf(theirs)).toFixed(3),
    formatBytes(median(bytesOf(runs))),
    medianRatio(bytesOf(runs), bytesOf(theirs)).toFixed(2),
  ];
  const how = accelerator.toUpperCase();
  return [
    ['', 'seconds', 'of virt-customize’s', 'peak memory', 'of virt-customize’s'],
    ...ours.map(({ guest, runs }) =>
      row(`Image Builder, ${guest === 'vm' ? `vm guest (${how}), unprivileged` : 'host guest'}`, runs),
    ),
    row(`virt-customize (${how}) + qemu-img convert -c`, theirs),
    ...Object.entries(medianSteps(theirs)).map(([name, seconds]) => [`  ${name}`, seconds.toFixed(2)]),
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
