import { formatBytes, table } from '#lib/text.ts';
import type { BuildMeasurement } from './image-builder.ts';
import { median, medianSteps } from './measure.ts';
import { describeMachine } from './report.ts';
import type { SizesResult } from './sizes.ts';

type Size = SizesResult['sizes'][number];
type Runs = readonly BuildMeasurement[];

const GiB = 1024 ** 3;
const secondsOf = (runs: Runs) => median(runs.map(({ totalSeconds }) => totalSeconds));
const processorOf = (runs: Runs) => median(runs.map(({ processorSeconds }) => processorSeconds));
const peakOf = (runs: Runs) => Math.max(...runs.map(({ peakBytes }) => peakBytes));

/** The results of `measureSizes` as text. */
export async function reportSizes({ sizes }: SizesResult): Promise<string> {
  const builds = sizes.flatMap((size) => size.ours.map(({ guest, ...ours }) => ({ size, guest, ...ours })));
  const guests = [...new Set(builds.map(({ guest }) => guest))];
  const series = [
    ...guests.flatMap((guest) => {
      const of = (runs: (build: (typeof builds)[number]) => Runs) =>
        builds.filter((build) => build.guest === guest).map((build) => ({ size: build.size, runs: runs(build) }));
      return [
        { title: `${guest} guest, image not cached`, points: of(({ first }) => [first]) },
        { title: `${guest} guest, image cached`, points: of(({ runs }) => runs) },
      ];
    }),
    { title: 'bare script, as root', points: sizes.map((size) => ({ size, runs: size.floor })) },
  ];
  const rounds = sizes[0]?.floor.length ?? 0;
  return [
    `Medians of ${rounds} rounds on base images of ${sizes.map(({ baseBytes }) => formatBytes(baseBytes)).join(', ')} (once where the image is not cached; peak memory: the most)`,
    '',
    ...table([
      ['', ...sizes.flatMap(({ size }) => [`${size} GiB`, 'processor', 'peak']), 'each GiB more', 'processor'],
      ...series.map(({ title, points }) => [
        title,
        ...points.flatMap(({ runs }) => [
          seconds(secondsOf(runs)),
          seconds(processorOf(runs)),
          formatBytes(peakOf(runs)),
        ]),
        growth(points, secondsOf),
        growth(points, processorOf),
      ]),
    ]),
    '',
    ...series.flatMap(({ title, points }) => [...table(stepsOf(title, points)), '']),
    ...(await describeMachine(null, ['qemu-img'])),
  ].join('\n');
}

interface Point {
  readonly size: Size;
  readonly runs: Runs;
}

function stepsOf(title: string, points: readonly Point[]): string[][] {
  const names = [...new Set(points.flatMap(({ runs }) => Object.keys(medianSteps(runs))))];
  return [
    [`${title} (seconds)`, ...points.map(({ size }) => `${size.size} GiB`), 'each GiB more'],
    ...names.map((name) => {
      const of = (runs: Runs) => medianSteps(runs)[name] ?? 0;
      return [`  ${name}`, ...points.map(({ runs }) => seconds(of(runs))), growth(points, of)];
    }),
  ];
}

/** By how much a number grows with each GiB of the base image, from the smallest to the largest. */
function growth(points: readonly Point[], of: (runs: Runs) => number): string {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || first === last) return '';
  return seconds((of(last.runs) - of(first.runs)) / ((last.size.baseBytes - first.size.baseBytes) / GiB));
}

const seconds = (value: number) => value.toFixed(2);
