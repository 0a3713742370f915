import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ServeCommandOptions } from '../serve-command.ts';
import { finish } from './options.ts';

export function addServe(program: Command): void {
  program
    .command('serve')
    .description('Runs the functions of stack.yml behind a gateway on this machine, in the foreground.')
    .addOption(
      new Option('--listen <host:port>', 'where to listen; port 0 takes a free one')
        .env('IMAGEBUILDER_LISTEN')
        .default({ host: '127.0.0.1', port: 8000 }, '127.0.0.1:8000')
        .argParser(parseListen),
    )
    .addOption(
      new Option('--stack <file>', 'the functions').default(
        join(import.meta.dirname, '../../stack.yml'),
        'stack.yml of this installation',
      ),
    )
    .addOption(
      new Option('--allowed-host <names>', 'names that callers may use, separated by commas; may be repeated')
        .env('IMAGEBUILDER_ALLOWED_HOSTS')
        .default([], 'addresses, localhost, the name of this machine and those of --listen and IMAGEBUILDER_PUBLIC_URL')
        .argParser((value: string, before: readonly string[]) => [
          ...before,
          ...value.split(',').map((name) => name.trim()),
        ]),
    )
    .option('--grace <seconds>', 'how long calls in flight may take to end after SIGTERM', parseSeconds, 30)
    .addHelpText(
      'after',
      `
Settings (IMAGEBUILDER_…) are taken from the environment; they win over stack.yml.
The first SIGTERM or SIGINT ends it in order, the second at once.

Examples:
  $ imagebuilder serve
  $ IMAGEBUILDER_AMQP_URL=amqp://rabbit.example imagebuilder serve --listen 0.0.0.0:8000`,
    )
    .action(async (options: ServeCommandOptions) => {
      // A function's image has this command without the template, which `serve` needs.
      const { serve } = await import('../serve-command.ts');
      await finish(serve(options));
    });
}

function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:\s[\]]+)):([0-9]{1,5})$/i.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || port > 65_535) {
    throw new InvalidArgumentError('It must be HOST:PORT, such as 127.0.0.1:8000 or [::1]:8000.');
  }
  return { host, port };
}

function parseSeconds(text: string): number {
  if (!/^[0-9]+(\.[0-9]+)?$/.test(text)) throw new InvalidArgumentError('It must be a number of seconds.');
  return Number(text);
}
