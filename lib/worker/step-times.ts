import type { BuildStep, StepTimes } from '../api/event.ts';

/** The times of an attempt's steps, also of those that are too short for an event of their own. */
export interface StepClock {
  begin(step: BuildStep, now: Date): void;
  /** Ends the step that is on. */
  end(now: Date): void;
  /** The steps so far, where they have changed since this was last called; else undefined. */
  news(): StepTimes[] | undefined;
}

export function createStepClock(): StepClock {
  let steps: StepTimes[] = [];
  let changed = false;
  const end = (now: Date) => {
    const last = steps.at(-1);
    if (last?.ended_at !== null) return;
    steps = [...steps.slice(0, -1), { ...last, ended_at: now.toISOString() }];
    changed = true;
  };
  return {
    begin(step, now) {
      if (steps.at(-1)?.step === step) return;
      end(now);
      steps.push({ step, started_at: now.toISOString(), ended_at: null });
      changed = true;
    },
    end,
    news() {
      if (!changed) return undefined;
      changed = false;
      return [...steps];
    },
  };
}
