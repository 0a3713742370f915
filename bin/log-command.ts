import { requireBuildId } from '#lib/client/build-id.ts';
import { followLog } from '#lib/client/log.ts';
import { linesOf } from '#lib/client/log-events.ts';
import { plain } from '#lib/text.ts';
import { type GatewayOptions, openClient } from './gateway.ts';
import { interrupted } from './interrupted.ts';

/** Writes the log of a build to standard output: what there is, or with `follow` every line until the build has ended. */
export async function showLog(text: string, options: GatewayOptions & { follow?: boolean }): Promise<number> {
  const buildId = requireBuildId(text, 'BUILD_ID');
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort());
  const client = await openClient(options, interrupt.signal);
  const lines = options.follow ? followLog(client, buildId, interrupt.signal) : linesOf(client.log(buildId));
  try {
    for await (const line of lines) process.stdout.write(`${plain(line)}\n`);
    return 0;
  } catch (error) {
    if (interrupt.signal.aborted) return interrupted;
    throw error;
  }
}
