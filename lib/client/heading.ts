import type { BuildStatus } from '../api/status.ts';
import { plain } from '../text.ts';
import { columnsOf, truncate } from '../width.ts';

export interface Heading {
  /** One line, or two where the ticket has no room beside the state. */
  readonly full: readonly string[];
  /** One line; the ticket is cut, or left out. */
  readonly short: string;
}

/** Columns of a ticket below which it says nothing. */
const leastTicketColumns = 12;

/** The heading of a build: of all its parts, the state goes last on narrow screens, and the ticket first. */
export function headingOf(build: BuildStatus, columns: number, mark = '…'): Heading {
  const attempt = build.attempt > 1 ? `  attempt ${build.attempt}` : '';
  const state = `${build.cancelling ? 'cancelling' : build.state}${attempt}`;
  const ticket = `ticket ${plain(String(build.ticket_id))}`;
  const line = (...parts: readonly string[]) => parts.filter((part) => part !== '').join('  ');
  const name = `Build ${build.build_id}`;
  const whole = line(name, ticket, state);
  if (columnsOf(whole) <= columns) return { full: [whole], short: whole };
  const room = columns - columnsOf(line(name, state)) - 2;
  const short =
    room >= leastTicketColumns
      ? line(name, truncate(ticket, room, mark), state)
      : room >= -2
        ? line(name, state)
        : line(truncate(build.build_id, columns - columnsOf(state) - 2, mark), state);
  return { full: [room >= -2 ? line(name, state) : short, truncate(`  ${ticket}`, columns, mark)], short };
}
