import { formatBytes, table } from '#lib/text.ts';
import { compareWithHand, processors, stepsWithHand, titleOf, walls } from '../hand-report.ts';
import { packages } from '../job.ts';
import { median, medianSteps } from '../measure.ts';
import { describeMachine } from '../report.ts';
import type { CdResult } from './measure.ts';

/** The results of `measureCd` as text. */
export async function reportCd(results: CdResult): Promise<string> {
  const { ours, byHand, byHandLarge, smallBytes, largeBytes, accelerator } = results;
  const small = ours.map(({ guest, small: runs }) => ({ guest, runs }));
  const shared = ours.map(({ guest, shared: runs }) => ({ guest, runs }));
  const large = ours.map(({ guest, large: runs }) => ({ guest, runs: runs.slice(0, 1) }));
  return [
    `Medians of ${byHand.length} rounds in turns; live medium of ${formatBytes(smallBytes)} (xz); ${packages.cd.join(' ')}`,
    '',
    ...table(compareWithHand(small, byHand)),
    '',
    'The same builds where all packages are shared but one',
    '',
    ...table(compareWithHand(shared, byHand)),
    '(Shares are medians of those of each round.)',
    '',
    ...table(stepsWithHand(small, byHand)),
    '',
    `The same on a medium of ${formatBytes(largeBytes)}; all in the first round`,
    'Goals: at most 1/15 of by hand for the host guest, 1/4 for the vm guest without KVM',
    '',
    ...table(compareWithHand(large, [byHandLarge])),
    '',
    ...table(growth(results)),
    '',
    ...table(growthOfSteps(results)),
    '',
    ...(await describeMachine(accelerator, ['xorriso', 'mksquashfs'])),
  ].join('\n');
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
