import { type Command, Option } from 'commander';
import { requireKnownVariables } from '#lib/config/load.ts';

/** Parts that the definitions of several commands share. */

const defaultUrl = 'http://127.0.0.1:8000';

/** Adds the options of a command that calls the API. */
export function withGateway(command: Command): Command {
  return command
    .addOption(new Option('--url <url>', 'the gateway').env('IMAGEBUILDER_URL').default(defaultUrl))
    .addOption(
      new Option('--token-file <file>', 'file with the token, where the service asks for one').env(
        'IMAGEBUILDER_TOKEN_FILE',
      ),
    )
    .hook('preAction', () => requireKnownVariables(process.env));
}

/** Collects the values of an option that may be repeated. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

export async function finish(exitCode: Promise<number>): Promise<void> {
  process.exitCode = await exitCode;
}
