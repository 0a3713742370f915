import { type BuildPage, Cursor, type ListQuery } from '../api/build-list.ts';
import type { BuildRow } from './build.ts';
import type { Ledger } from './ledger.ts';
import { statusesOf } from './overview.ts';
import { takeWithin } from './status.ts';

/** Largest page: one with builds of many packages holds fewer of them than its limit. */
const maximumBytes = 1024 * 1024;

/** The page of builds that a query asks for. `caller`: who has submitted them; null: any. */
export function pageOf(
  ledger: Pick<Ledger, 'get' | 'newestFirst' | 'placeInQueue'>,
  now: Date,
  query: ListQuery,
  caller: string | null,
): BuildPage {
  const { limit, cursor, state, ticket_id, series } = query;
  const place = cursor === undefined ? undefined : { queuedAt: cursor[0], buildId: cursor[1] };
  const rows: BuildRow[] = [];
  for (const row of ledger.newestFirst(now, { caller, state, ticketId: ticket_id, series }, place)) {
    rows.push(row);
    if (rows.length > limit) break;
  }
  const builds = takeWithin(statusesOf(ledger, now)(rows.slice(0, limit)), maximumBytes);
  const last = builds.at(-1);
  const more = last !== undefined && builds.length < rows.length;
  return { builds, next_cursor: more ? Cursor.encode([last.queued_at, last.build_id]) : null };
}
