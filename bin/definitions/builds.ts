import type { Command } from 'commander';
import { cancel, type RetryOptions, retry, watch } from '../build-commands.ts';
import type { GatewayOptions } from '../gateway.ts';
import { showLog } from '../log-command.ts';
import { type ListOptions, list, status } from '../status-commands.ts';
import { finish, withGateway } from './options.ts';

/** Adds the commands about builds that were submitted. */
export function addBuilds(program: Command): void {
  withGateway(program.command('status'))
    .description('Shows the service and its builds.')
    .option('--ticket-id <id>', 'only the builds of this ticket')
    .option('--build-id <id>', 'only this build')
    .option('--watch', 'show it again every two seconds')
    .option('--json', 'write the answer of the API')
    .addHelpText('after', '\nExamples:\n  $ imagebuilder status\n  $ imagebuilder status --ticket-id 42 --json')
    .action((options: GatewayOptions & { ticketId?: string; buildId?: string; watch?: boolean; json?: boolean }) =>
      finish(status(options)),
    );

  withGateway(program.command('list'))
    .description('Lists builds, the newest first, page by page.')
    .option('--state <state>', 'only builds that are queued, running, completed, failed or cancelled')
    .option('--ticket-id <id>', 'only the builds of this ticket')
    .option('--series <name>', 'only builds of this series, such as noble')
    .option('--limit <n>', 'builds on a page, 1 to 200 (default: 50)')
    .option('--cursor <cursor>', 'the next page, as the page before names it')
    .option('--json', 'write the answer of the API')
    .addHelpText(
      'after',
      '\nExamples:\n  $ imagebuilder list --state failed\n  $ imagebuilder list --series noble --json',
    )
    .action((options: ListOptions) => finish(list(options)));

  withGateway(program.command('watch'))
    .description('Follows a build to its end.')
    .argument('<build-id>', 'as `build` or `status` shows it')
    .option('--json', 'write one JSON object per change; the last one is the result')
    .addHelpText('after', '\nExample:\n  $ imagebuilder watch 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55')
    .action((buildId: string, options: GatewayOptions & { json?: boolean }) => finish(watch(buildId, options)));

  withGateway(program.command('log'))
    .description('Shows the log of a build: of one that runs, everything so far.')
    .argument('<build-id>', 'as `build` or `status` shows it')
    .option('--follow', 'go on with the lines that come, until the build has ended')
    .addHelpText(
      'after',
      `
Examples:
  $ imagebuilder log 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55 | grep -i error
  $ imagebuilder log 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55 --follow`,
    )
    .action((buildId: string, options: GatewayOptions & { follow?: boolean }) => finish(showLog(buildId, options)));

  withGateway(program.command('cancel'))
    .description('Cancels a build; it ends within seconds.')
    .argument('<build-id>', 'as `build` or `status` shows it')
    .addHelpText('after', '\nExample:\n  $ imagebuilder cancel 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55')
    .action((buildId: string, options: GatewayOptions) => finish(cancel(buildId, options)));

  withGateway(program.command('retry'))
    .description('Submits the request of a build that has ended again, as a new build, and follows it to its end.')
    .argument('<build-id>', 'as `build` or `status` shows it')
    .option('--no-follow', 'only submit')
    .option('--cancel-on-interrupt', 'Ctrl-C cancels the build instead of only leaving it')
    .option('--json', 'write one JSON object per change; the last one is the result')
    .addHelpText(
      'after',
      `
A request of which a part may be a secret, such as an answer for debconf, is not kept whole: submit it again.

Examples:
  $ imagebuilder retry 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55
  $ imagebuilder retry 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55 --no-follow`,
    )
    .action((buildId: string, options: RetryOptions) => finish(retry(buildId, options)));
}
