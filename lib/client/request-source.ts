import { ImageBuilderError, type RequestFault } from '../errors.ts';
import { upTo } from '../text.ts';
import { faultInOptions, faultInQuery } from './fault-options.ts';
import type { RequestFlags } from './request.ts';

/** The place where a person has written a request: options of a build or of a list, or a file. */
export type RequestSource =
  | { readonly flags: RequestFlags }
  | { readonly query: Readonly<Record<string, string | undefined>> }
  | { readonly file: string };

/** An error about a request, with its faults named where the person has written them; other errors as they are. */
export function explainFaults(thrown: unknown, source: RequestSource): unknown {
  if (!(thrown instanceof ImageBuilderError)) return thrown;
  const [first, ...more] = thrown.faults;
  if (first === undefined) return thrown;
  const faults = thrown.faults.map((fault) => place(fault, source));
  const text = faults.map(({ path, message }) => `${path} ${message}`).join('; ');
  const where = 'file' in source ? `${source.file}: ` : '';
  const summary = more.length === 0 ? '' : `${upTo(thrown.message, `: ${first.path} `)}: `;
  return new ImageBuilderError(thrown.code, `${where}${summary}${text}`, { cause: thrown, faults });
}

function place(fault: RequestFault, source: RequestSource): RequestFault {
  if ('flags' in source) return faultInOptions(fault, source.flags);
  return 'query' in source ? faultInQuery(fault, source.query) : fault;
}
