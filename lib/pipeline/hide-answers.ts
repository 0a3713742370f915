import type { DebconfSelection } from '../api/debconf.ts';
import { ImageBuilderError } from '../errors.ts';
import type { BuildReporter } from './reporter.ts';

/** Keeps the passwords of a request out of what its build says, also where a package's script shows one. */
export interface AnswerHider {
  readonly reporter: BuildReporter;
  /** The error without them. */
  error(thrown: unknown): unknown;
}

/** A shorter text is in too many words to be taken out of all. */
const leastCharacters = 3;

export function hideAnswers(selections: readonly DebconfSelection[], reporter: BuildReporter): AnswerHider {
  const secrets = selections
    .flatMap(({ type, value }) => (type === 'password' && value.trim().length >= leastCharacters ? [value.trim()] : []))
    // A password that holds another one goes first.
    .sort((a, b) => b.length - a.length);
  if (secrets.length === 0) return { reporter, error: (thrown) => thrown };
  const hide = (text: string) => secrets.reduce((rest, secret) => rest.replaceAll(secret, '[password]'), text);
  return {
    reporter: {
      begin: (step, message) => reporter.begin(step, hide(message)),
      progress: (current, total, message) =>
        message === undefined ? reporter.progress(current, total) : reporter.progress(current, total, hide(message)),
      notice: (message) => reporter.notice(hide(message)),
      log: (line) => reporter.log(hide(line)),
      guest: (report) => reporter.guest(report),
    },
    error: (thrown) =>
      thrown instanceof ImageBuilderError && [thrown.message, ...thrown.logTail].some((text) => hide(text) !== text)
        ? new ImageBuilderError(thrown.code, hide(thrown.message), {
            faults: thrown.faults.map(({ path, message }) => ({ path, message: hide(message) })),
            logTail: thrown.logTail.map(hide),
            ...(thrown.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: thrown.retryAfterSeconds }),
          })
        : thrown,
  };
}
