import { z } from 'zod';
import { parseQuery } from './query.ts';

/** The wishes of a call for a log. */

const yes = z.enum(['', '1', 'true']).transform(() => true);
const no = z.enum(['0', 'false']).transform(() => false);
const LogQuery = z.strictObject({ follow: z.union([yes, no]).optional() });

interface LogCall {
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** Whether the call asks for a stream of events, by `?follow` or the header `Accept`. Throws for other queries. */
export function followsLog({ query, headers }: LogCall): boolean {
  const { follow } = parseQuery(LogQuery, query);
  return follow ?? headers.accept?.includes('text/event-stream') ?? false;
}

/** The byte after the last line that the caller of a stream has seen; 0 for a new caller. */
export function lastEventId({ headers }: Pick<LogCall, 'headers'>): number {
  const id = headers['last-event-id'] ?? '';
  return /^[0-9]{1,15}$/.test(id) ? Number(id) : 0;
}
