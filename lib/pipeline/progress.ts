import { type BuildStep, buildSteps } from '../api/event.ts';

/** Share of a typical build's time that each step takes, measured on a build of a few packages with a cold cache. */
const weights = {
  fetch: 20,
  inspect: 1,
  open: 2,
  sources: 20,
  install: 30,
  seal: 3,
  repack: 14,
  check: 5,
  upload: 5,
} as const satisfies Record<BuildStep, number>;

const totalWeight = buildSteps.reduce((sum, step) => sum + weights[step], 0);

/** How far the whole build is, 0 to 1, when `step` is at `fraction` (0 to 1) of its own work. */
export function overallProgress(step: BuildStep, fraction: number): number {
  const before = buildSteps.slice(0, buildSteps.indexOf(step)).reduce((sum, earlier) => sum + weights[earlier], 0);
  const within = weights[step] * Math.min(1, Math.max(0, fraction));
  return Math.round(((before + within) / totalWeight) * 1000) / 1000;
}
