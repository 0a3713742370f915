import { formatBytes } from '#lib/text.ts';
import type { HandMeasurement } from './by-hand.ts';
import type { BuildMeasurement, GuestKind } from './image-builder.ts';
import { median, medianRatio, medianSteps } from './measure.ts';

/** Tables of builds beside the same job by hand. */

export type Runs = readonly (BuildMeasurement | HandMeasurement)[];

/** The builds of one guest, one per round. */
export interface GuestRuns {
  readonly guest: GuestKind;
  readonly runs: Runs;
}

export const walls = (runs: Runs) => runs.map(({ totalSeconds }) => totalSeconds);
export const processors = (runs: Runs) => runs.map(({ processorSeconds }) => processorSeconds);
const peaks = (runs: Runs) => runs.map(({ peakBytes }) => peakBytes);

export const titleOf = (guest: GuestKind) => (guest === 'vm' ? 'vm guest, unprivileged' : 'host guest');

/** Time and memory; shares are medians of those of each round. */
export function compareWithHand(ours: readonly GuestRuns[], byHand: Runs): string[][] {
  const row = (name: string, runs: Runs) => [
    name,
    median(walls(runs)).toFixed(2),
    share(medianRatio(walls(runs), walls(byHand))),
    median(processors(runs)).toFixed(2),
    share(medianRatio(processors(runs), processors(byHand))),
    formatBytes(median(peaks(runs))),
  ];
  return [
    ['', 'seconds', 'of by hand', 'processor (s)', 'of by hand', 'peak memory'],
    ...ours.map(({ guest, runs }) => row(`Image Builder, ${titleOf(guest)}`, runs)),
    row('by hand, as root', byHand),
  ];
}

/** Each step of each. */
export function stepsWithHand(ours: readonly GuestRuns[], byHand: Runs): string[][] {
  const rows = (name: string, runs: Runs) => [
    [name, 'seconds'],
    ...Object.entries(medianSteps(runs)).map(([step, seconds]) => [`  ${step}`, seconds.toFixed(2)]),
  ];
  return [...ours.flatMap(({ guest, runs }) => rows(titleOf(guest), runs)), ...rows('by hand', byHand)];
}

/** As goals name it, such as 1/15. */
function share(ratio: number): string {
  return `1/${(1 / ratio).toFixed(1)}`;
}
