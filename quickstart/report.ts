import type { BuildEvent } from '#lib/api/event.ts';
import type { ImageResult } from '#lib/api/image-result.ts';
import { formatBytes, table } from '#lib/text.ts';

/** The final text of the quickstart: the changes, the time of each step, and the use of the image. */

/** Seconds of every step of the last attempt, from the times of its events. */
function stepSeconds(events: readonly BuildEvent[]): { step: string; seconds: number }[] {
  const attempt = Math.max(0, ...events.map((event) => event.attempt));
  const ordered = events.filter((event) => event.attempt === attempt).sort((a, b) => a.sequence - b.sequence);
  const steps: { step: string; seconds: number }[] = [];
  for (const [index, event] of ordered.entries()) {
    const next = ordered[index + 1];
    if (event.step === null || next === undefined) continue;
    const seconds = (Date.parse(next.time) - Date.parse(event.time)) / 1000;
    const last = steps.at(-1);
    if (last?.step === event.step) last.seconds += seconds;
    else steps.push({ step: event.step, seconds });
  }
  return steps;
}

export interface Report {
  readonly image: ImageResult;
  readonly imagePath: string;
  readonly baseBytes: number | null;
  readonly events: readonly BuildEvent[];
}

export function describeResult({ image, imagePath, baseBytes, events }: Report): string {
  const packages = image.packages ?? [];
  const added = packages.filter((entry) => entry.previous_version === undefined);
  const changed = packages.filter((entry) => entry.previous_version !== undefined);
  const grown = baseBytes === null ? '' : `, the base image is ${formatBytes(baseBytes)}`;
  const rows = [
    ...added.map(({ name, version }) => ['  +', name, version]),
    ...changed.map(({ name, version, previous_version }) => ['  ~', name, `${previous_version} -> ${version}`]),
  ];
  const steps = stepSeconds(events).map(({ step, seconds }) => [`  ${step}`, `${seconds.toFixed(1)} s`]);
  return [
    'The new image',
    `  ${imagePath}`,
    `  ${formatBytes(image.size)} (${image.format})${grown}`,
    '',
    `What changed against the base image: ${added.length} packages added, ${changed.length} updated`,
    ...table(rows),
    '',
    'How long each step took',
    ...table(steps),
    '',
    `The caller was told all of it on its exchange, in ${events.length} events.`,
    '',
    ...usage(image, imagePath),
  ].join('\n');
}

function usage({ format }: ImageResult, path: string): string[] {
  if (format.startsWith('tar')) return ['To see what is in it:', `  tar --list --verbose --file ${path}`];
  const raw = format === 'iso' ? ',format=raw' : '';
  return [
    'To boot it (a login prompt appears; leave with Ctrl-A X):',
    `  qemu-system-x86_64 -m 1024 -nographic -snapshot -drive file=${path},if=virtio${raw}`,
    ...(format === 'iso' ? ['or write it to a disc or a USB stick.'] : []),
  ];
}
