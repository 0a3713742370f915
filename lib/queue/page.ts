import { type BuildPage, Cursor, type ListQuery } from '../api/build-list.ts';
import type { BuildRow } from './build.ts';
import type { Ledger } from './ledger.ts';
import { statusesOf } from './overview.ts';
import { takeWithin } from './status.ts';

/** Largest page: one with builds of many packages holds fewer of them than its limit. */
const maximumBytes = 1024 * 1024;

/** The page of builds that a query asks for, of those that are `visible`. */
export function pageOf(
  ledger: Pick<Ledger, 'get' | 'newestFirst' | 'waiting'>,
  now: Date,
  query: ListQuery,
  visible: (build: BuildRow) => boolean,
): BuildPage {
  const { limit, cursor, state, ticket_id, series } = query;
  const place = cursor === undefined ? undefined : { queuedAt: cursor[0], buildId: cursor[1] };
  const rows: BuildRow[] = [];
  for (const row of ledger.newestFirst(now, place)) {
    if (!visible(row)) continue;
    if (state !== undefined && row.state !== state) continue;
    if (ticket_id !== undefined && String(row.ticketId) !== ticket_id) continue;
    if (series !== undefined && row.series !== series) continue;
    rows.push(row);
    if (rows.length > limit) break;
  }
  const builds = takeWithin(statusesOf(ledger, now)(rows.slice(0, limit)), maximumBytes);
  const last = builds.at(-1);
  const more = last !== undefined && builds.length < rows.length;
  return { builds, next_cursor: more ? Cursor.encode([last.queued_at, last.build_id]) : null };
}
