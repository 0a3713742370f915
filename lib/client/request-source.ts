import { ImageBuilderError, type RequestFault } from '../errors.ts';
import { upTo } from '../text.ts';
import { faultInOptions } from './fault-options.ts';
import type { RequestFlags } from './request.ts';

/** The place where a person has written a request: options, or a file. */
export type RequestSource = { readonly flags: RequestFlags } | { readonly file: string };

/** An error about a request, with its faults named where the person has written them; other errors as they are. */
export function explainFaults(thrown: unknown, source: RequestSource): unknown {
  if (!(thrown instanceof ImageBuilderError)) return thrown;
  const [first] = thrown.faults;
  if (first === undefined) return thrown;
  const summary = upTo(thrown.message, `: ${first.path} `);
  const told =
    'flags' in source
      ? { summary, faults: thrown.faults.map((fault) => faultInOptions(fault, source.flags)) }
      : { summary: `${source.file}: ${summary}`, faults: thrown.faults };
  const single = 'flags' in source ? line(told.faults) : `${source.file}: ${line(told.faults)}`;
  const message = thrown.faults.length === 1 ? single : `${told.summary}: ${line(told.faults)}`;
  return new ImageBuilderError(thrown.code, message, { cause: thrown, faults: told.faults });
}

function line(faults: readonly RequestFault[]): string {
  return faults.map(({ path, message }) => `${path} ${message}`).join('; ');
}
