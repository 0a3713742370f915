import type { BuildStep } from '../api/event.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import type { LimitedContext } from './context.ts';
import { runStep } from './step.ts';

/** Runs the steps of one attempt. */
export interface Steps {
  /** Runs a step as `runStep` does, and lets the visitor in after it. Throws the explained error of `work`. */
  run<Value>(name: BuildStep, message: string, work: () => Promise<Value>): Promise<Value>;
  /** The opened image, for visitors; null while none is open. */
  inside: ScriptRunner | null;
  /** Finds the cause behind an error of a step; at first, the error itself. */
  explain: (thrown: unknown) => Promise<unknown>;
}

export function stepsOf(context: LimitedContext): Steps {
  const { signal, space } = context;
  const steps: Steps = {
    inside: null,
    explain: async (thrown) => thrown,
    async run(name, message, work) {
      const visit = async (failed: boolean) =>
        await context.visitor?.visit({ step: name, inside: steps.inside, failed });
      const explained = async () => {
        try {
          return await work();
        } catch (thrown) {
          throw signal.aborted ? thrown : await space.explain(await steps.explain(thrown));
        }
      };
      const value = await runStep(context, name, message, explained).catch(async (error: unknown) => {
        if (!signal.aborted) await visit(true);
        throw error;
      });
      await visit(false);
      return value;
    },
  };
  return steps;
}
