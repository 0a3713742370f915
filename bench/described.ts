import { join } from 'node:path';
import { startRabbitMq } from '../lab/servers/rabbitmq.ts';
import { type BuildsOptions, startBuilders } from './builds.ts';
import { type Builder, type BuildMeasurement, type GuestKind, startBuilder } from './image-builder.ts';
import { median, medianRatio } from './measure.ts';
import { allParts, type Part, parts } from './parts.ts';
import { openSite } from './site.ts';

/** Times what it costs a build to describe itself: complete builds and builds without some parts, in turns. */

/** The builds of one guest, one per round. */
export interface PartsMeasurement {
  readonly guest: GuestKind;
  readonly complete: readonly BuildMeasurement[];
  readonly variants: readonly { readonly without: readonly Part[]; readonly runs: readonly BuildMeasurement[] }[];
}

const variants: readonly (readonly Part[])[] = [[], ...allParts.map((part) => [part]), allParts];

/** RabbitMQ, which takes the lines of logs, runs on the same machine. */
export async function measureParts(options: BuildsOptions): Promise<PartsMeasurement[]> {
  const { guests, rounds, signal, onLine } = options;
  await using cleanup = new AsyncDisposableStack();
  const rabbitmq = cleanup.use(await startRabbitMq());
  const { job, cacheDirectory, directory, environment } = cleanup.use(await openSite(options));
  const start = (guest: GuestKind, without: readonly Part[]) =>
    startBuilder({
      ...{ guest, without, signal },
      environment: {
        ...environment,
        ...(without.includes('logs') ? {} : { IMAGEBUILDER_AMQP_URL: rabbitmq.url }),
      },
      // They build in turns: all of a guest share the files that were fetched before.
      cacheDirectory: join(cacheDirectory, guest),
      directory: join(directory, [guest, ...without].join('-')),
    });

  const complete = await startBuilders(guests, onLine, (guest) => start(guest, []));
  for (const builder of complete) cleanup.use(builder);
  const measured: PartsMeasurement[] = [];
  for (const first of complete) {
    const { guest } = first;
    const builders: {
      readonly without: readonly Part[];
      readonly builder: Builder;
      readonly runs: BuildMeasurement[];
    }[] = [];
    for (const without of variants) {
      const builder = without.length === 0 ? first : cleanup.use(await start(guest, without));
      builders.push({ without, builder, runs: [] });
    }
    onLine(`Warming up: ${guest} guest …`);
    for (const { builder } of builders) await builder.build(job);
    for (let round = 1; round <= rounds; round += 1) {
      for (const { without, builder, runs } of builders) {
        const built = await builder.build(job);
        runs.push(built);
        const what = without.length === 0 ? 'complete' : `without ${without.join(', ')}`;
        onLine(`Round ${round} of ${rounds}: ${guest} guest, ${what}, ${built.totalSeconds.toFixed(2)} s`);
      }
    }
    const [all, ...others] = builders;
    measured.push({
      guest,
      complete: all?.runs ?? [],
      variants: others.map(({ without, runs }) => ({ without, runs })),
    });
  }
  return measured;
}

/** The rows of a table. */
export function reportParts(measurements: readonly PartsMeasurement[]): string[][] {
  return measurements.flatMap(({ guest, complete, variants: others }) => [
    [`${guest} guest`, 'seconds', 'complete ÷ this', 'processor (s)', 'complete ÷ this', 'by steps (%)', 'steps'],
    ['  complete', median(totals(complete)).toFixed(2), '1.000', median(used(complete)).toFixed(2), '1.000', '', ''],
    ...others.map(({ without, runs }) => {
      const isAll = without.length === allParts.length;
      const title = isAll ? 'all of these' : without.map((part) => parts[part].title).join(', ');
      const steps = [...new Set(without.flatMap((part) => parts[part].steps))];
      return [
        `  without ${title}`,
        median(totals(runs)).toFixed(2),
        medianRatio(totals(complete), totals(runs)).toFixed(3),
        median(used(runs)).toFixed(2),
        medianRatio(used(complete), used(runs)).toFixed(3),
        (100 * shareOfSteps(complete, runs, steps)).toFixed(1),
        steps.join(', '),
      ];
    }),
  ]);
}

const totals = (runs: readonly BuildMeasurement[]) => runs.map(({ totalSeconds }) => totalSeconds);
/** Processor time, which other users of the machine change less. */
const used = (runs: readonly BuildMeasurement[]) => runs.map(({ processorSeconds }) => processorSeconds);

/**
 * The time that these steps take longer in complete builds, as a share of all their time: other steps, which the weather
 * of the machine changes, do not count.
 */
function shareOfSteps(
  complete: readonly BuildMeasurement[],
  others: readonly BuildMeasurement[],
  steps: readonly string[],
) {
  const sum = (run: BuildMeasurement | undefined) => steps.reduce((total, step) => total + (run?.steps[step] ?? 0), 0);
  return median(complete.map((run, round) => (sum(run) - sum(others[round])) / run.totalSeconds));
}
