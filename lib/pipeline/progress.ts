import type { BuildStep } from '../api/event.ts';
import type { StepPlan } from '../kinds/kind.ts';

/** How far the whole build is, 0 to 1, when `step` is at `fraction` (0 to 1) of its own work. */
export function overallProgress(steps: readonly StepPlan[], step: BuildStep, fraction: number): number {
  const index = steps.findIndex(({ name }) => name === step);
  const before = sumOfWeights(steps.slice(0, index));
  const within = (steps[index]?.weight ?? 0) * Math.min(1, Math.max(0, fraction));
  return Math.round(((before + within) / sumOfWeights(steps)) * 1000) / 1000;
}

function sumOfWeights(steps: readonly StepPlan[]): number {
  return steps.reduce((sum, { weight }) => sum + weight, 0);
}
