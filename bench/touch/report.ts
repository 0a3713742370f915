import { formatBytes, table } from '#lib/text.ts';
import { compareWithHand, stepsWithHand } from '../hand-report.ts';
import { packages } from '../job.ts';
import { describeMachine } from '../report.ts';
import type { TouchBaseResult } from './measure.ts';

/** The results of `measureTouch` as text. */
export async function reportTouch(results: readonly TouchBaseResult[]): Promise<string> {
  const rounds = results[0]?.byHand.length ?? 0;
  return [
    `Medians of ${rounds} rounds in turns, of the vm guest one; ${packages.touch.join(' ')}`,
    '',
    ...results.flatMap(({ base, ours, byHand }) => [
      `${base.title}: an archive of ${formatBytes(base.sizeBytes)} (gzip), unpacked ${formatBytes(base.unpackedBytes)}`,
      '',
      ...table(compareWithHand(ours, byHand)),
      '',
      ...table(stepsWithHand(ours, byHand)),
      '',
    ]),
    '(Shares are medians of those of each round.)',
    '',
    ...(await describeMachine(null, ['tar', 'gzip', 'qemu-arm-static'])),
  ].join('\n');
}
