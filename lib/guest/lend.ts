import { shellWords } from '../shell-scripts.ts';
import type { GuestScript, ScriptRunner } from './guest.ts';
import { borrowError } from './script-run.ts';

/** Runs scripts in an image, with the files that it needs while it is open. */
export interface LendingRunner extends ScriptRunner {
  /** Whether these files were put into the image, or some of them: `close` takes them out then. */
  readonly hasLent: () => boolean;
}

/** Printed to descriptor 3 when all files are there. */
const lent = 'imagebuilder: lent';

/**
 * A runner that runs `loan` (`borrowScript`), which puts the files into the image, in front of its first script, in the same go:
 * a container of its own would take longer than that. Throws `borrowError` where the loan fails.
 */
export function lending(run: ScriptRunner['run'], loan: GuestScript): LendingRunner {
  let isDue = true;
  return {
    hasLent: () => !isDue,
    async run(script) {
      if (!isDue) return await run(script);
      isDue = false;
      let isLent = false;
      const first = withLoan(script, loan, (line) => {
        isLent ||= line === lent;
        if (line !== lent) script.onStatusLine?.(line);
      });
      try {
        return await run(first);
      } catch (error) {
        throw isLent ? error : borrowError(error);
      }
    },
  };
}

function withLoan(script: GuestScript, loan: GuestScript, onStatusLine: (line: string) => void): GuestScript {
  // A shell of its own: options and positional parameters of the script are none of its business.
  const enter = `JOB=$JOB/loan && export JOB && exec /bin/sh "$JOB/script" ${shellWords(loan.arguments ?? [])}`;
  const text = `( ${enter} ) >/dev/null 3>&- 4>&- || exit\necho '${lent}' >&3\n${script.text}`;
  return { ...script, text, files: { ...script.files, 'loan/script': loan.text }, onStatusLine };
}
