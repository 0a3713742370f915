import type { Status } from '#lib/api/status.ts';
import { pause } from '#lib/async.ts';
import { requireBuildId } from '#lib/client/build-id.ts';
import { isDrawable, openLive, writesUnicode } from '#lib/client/live.ts';
import { explainFaults } from '#lib/client/request-source.ts';
import { describePage, describeStatus, describeStatusIn, renderStatus } from '#lib/client/status-report.ts';
import { cutMark } from '#lib/client/view.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { plain } from '#lib/text.ts';
import { type GatewayOptions, openClient } from './gateway.ts';
import { interrupted } from './interrupted.ts';

/** Commands that show the service and its builds. Each resolves with its exit code. */

const statusIntervalMs = 2_000;

export interface ListOptions extends GatewayOptions {
  readonly state?: string;
  readonly ticketId?: string;
  readonly series?: string;
  readonly limit?: string;
  readonly cursor?: string;
  readonly json?: boolean;
}

export async function list(options: ListOptions): Promise<number> {
  const { state, ticketId, series, limit, cursor, json } = options;
  const query = { state, ticket_id: ticketId, series, limit, cursor };
  const client = await openClient(options);
  const page = await client.list(query).catch((error: unknown) => {
    throw explainFaults(error, { query });
  });
  const { stdout } = process;
  const columns = stdout.isTTY && stdout.columns > 0 ? stdout.columns : undefined;
  const mark = cutMark({ unicode: writesUnicode(process.env) });
  stdout.write(`${json ? JSON.stringify(page) : describePage(page, columns, mark)}\n`);
  return 0;
}

export async function status(
  options: GatewayOptions & { ticketId?: string; buildId?: string; watch?: boolean; json?: boolean },
): Promise<number> {
  const { ticketId } = options;
  const filter = {
    ...(ticketId === undefined ? {} : { ticketId }),
    ...(options.buildId === undefined ? {} : { buildId: requireBuildId(options.buildId, '--build-id') }),
  };
  const interrupt = new AbortController();
  const client = await openClient(options, interrupt.signal);
  const { stdout } = process;
  const describe = (answer: Status) => {
    if (options.json) return JSON.stringify(answer);
    if (!stdout.isTTY || !(stdout.columns > 0)) return describeStatus(answer);
    return describeStatusIn(answer, stdout.columns, cutMark({ unicode: writesUnicode(process.env) }));
  };
  if (!options.watch) {
    const answer = await client.status(filter).catch((error: unknown) => {
      throw explainFaults(error, { query: { ticket_id: ticketId } });
    });
    stdout.write(`${describe(answer)}\n`);
    return answer.status === 'ok' ? 0 : 1;
  }
  process.once('SIGINT', () => interrupt.abort());
  using live = !options.json && isDrawable(stdout, process.env) ? openLive(stdout, process.env) : null;
  let last: Status | undefined;
  while (!interrupt.signal.aborted) {
    try {
      const answer = await client.status(filter);
      last = answer;
      if (live === null) stdout.write(`${describe(answer)}\n`);
      else live.draw((screen) => renderStatus(answer, screen));
    } catch (error) {
      if (interrupt.signal.aborted) break;
      // The gateway was there already, so it may be away for a while.
      if (last === undefined || !(error instanceof ImageBuilderError) || !error.retryable) throw error;
      const shown = last;
      const notice = `${plain(error.message)}; waiting`;
      if (live === null) process.stderr.write(`${notice}\n`);
      else live.draw((screen) => renderStatus(shown, screen, notice));
    }
    await pause(statusIntervalMs, interrupt.signal);
  }
  return interrupted;
}
