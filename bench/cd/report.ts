import { formatBytes, table } from '#lib/text.ts';
import type { BuildMeasurement } from '../image-builder.ts';
import { packages } from '../job.ts';
import { median, medianRatio, medianSteps } from '../measure.ts';
import { describeMachine } from '../report.ts';
import type { HandMeasurement } from './by-hand.ts';
import type { CdBuilds, CdResult } from './measure.ts';

type Runs = readonly (BuildMeasurement | HandMeasurement)[];

const walls = (runs: Runs) => runs.map(({ totalSeconds }) => totalSeconds);
const processors = (runs: Runs) => runs.map(({ processorSeconds }) => processorSeconds);
const peaks = (runs: Runs) => runs.map(({ peakBytes }) => peakBytes);

/** The results of `measureCd` as text. */
export async function reportCd(results: CdResult): Promise<string> {
  const { byHand, byHandLarge, smallBytes, largeBytes, accelerator } = results;
  return [
    `Medians of ${byHand.length} rounds in turns; live medium of ${formatBytes(smallBytes)} (xz); ${packages.cd.join(' ')}`,
    '',
    ...table(
      compare(
        results.ours.map(({ guest, small }) => [guest, small]),
        byHand,
      ),
    ),
    '(Shares are medians of those of each round.)',
    '',
    ...table(steps(results)),
    '',
    `The same on a medium of ${formatBytes(largeBytes)}, with more that cannot be compressed; by hand once`,
    '',
    ...table(
      compare(
        results.ours.map(({ guest, large }) => [guest, large.slice(0, 1)]),
        [byHandLarge],
      ),
    ),
    '',
    ...table(growth(results)),
    '',
    ...table(growthOfSteps(results)),
    '',
    ...(await describeMachine(accelerator, ['xorriso', 'mksquashfs'])),
  ].join('\n');
}

const titleOf = (guest: CdBuilds['guest']) => (guest === 'vm' ? 'vm guest, unprivileged' : 'host guest');

function compare(ours: readonly (readonly [guest: CdBuilds['guest'], runs: Runs])[], byHand: Runs): string[][] {
  const row = (name: string, runs: Runs) => [
    name,
    median(walls(runs)).toFixed(2),
    medianRatio(walls(runs), walls(byHand)).toFixed(3),
    median(processors(runs)).toFixed(2),
    medianRatio(processors(runs), processors(byHand)).toFixed(3),
    formatBytes(median(peaks(runs))),
  ];
  return [
    ['', 'seconds', 'of by hand', 'processor (s)', 'of by hand', 'peak memory'],
    ...ours.map(([guest, runs]) => row(`Image Builder, ${titleOf(guest)}`, runs)),
    row('by hand, as root', byHand),
  ];
}

function steps({ ours, byHand }: CdResult): string[][] {
  const rows = (name: string, runs: Runs) => [
    [name, 'seconds'],
    ...Object.entries(medianSteps(runs)).map(([step, seconds]) => [`  ${step}`, seconds.toFixed(2)]),
  ];
  return [...ours.flatMap(({ guest, small }) => rows(titleOf(guest), small)), ...rows('by hand', byHand)];
}

/** Seconds that each step takes longer for each GiB. */
function growthOfSteps({ ours, smallBytes, largeBytes }: CdResult): string[][] {
  const gibibytes = (largeBytes - smallBytes) / 2 ** 30;
  const columns = ours.map(({ small, large }) => [medianSteps(small), medianSteps(large)] as const);
  const names = Object.keys(columns[0]?.[1] ?? {});
  return [
    ['More per GiB (seconds)', ...ours.map(({ guest }) => `${guest} guest`)],
    ...names.map((name) => [
      `  ${name}`,
      ...columns.map(([small, large]) => (((large[name] ?? 0) - (small[name] ?? 0)) / gibibytes).toFixed(2)),
    ]),
  ];
}

function growth({ ours, copySeconds, smallBytes, largeBytes }: CdResult): string[][] {
  const gibibytes = (largeBytes - smallBytes) / 2 ** 30;
  const more = (large: readonly number[], small: readonly number[]) =>
    median(large.map((value, round) => value - (small[round] ?? Number.NaN))) / gibibytes;
  const plain = median(copySeconds) / gibibytes;
  return [
    ['More per GiB', 'seconds', 'processor (s)'],
    ...ours.map(({ guest, small, large }) => [
      `  ${titleOf(guest)}`,
      more(walls(large), walls(small)).toFixed(2),
      more(processors(large), processors(small)).toFixed(2),
    ]),
    ['  a plain copy', plain.toFixed(2), ''],
  ];
}
