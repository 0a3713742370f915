import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { requireKnownVariables } from '#lib/config/load.ts';
import { type ImageBuilderError, toImageBuilderError } from '#lib/errors.ts';
import { plain, upTo } from '#lib/text.ts';
import { type BuildOptions, build, cancel, type RetryOptions, retry, watch } from './build-commands.ts';
import { addDescriptions } from './descriptions-command.ts';
import { doctor } from './doctor-command.ts';
import type { GatewayOptions } from './gateway.ts';
import { deleteImage, downloadImage, type ImagesOptions, listImages, showImage } from './images-commands.ts';
import { showLog } from './log-command.ts';
import type { ServeCommandOptions } from './serve-command.ts';
import { type ListOptions, list, status } from './status-commands.ts';
import { checkStore } from './store-command.ts';
import { type VerifyOptions, verify } from './verify-command.ts';

/**
 * The command line. Exit codes: 0 done; 1 the build failed or was cancelled, a check found a fault, or the service is
 * degraded; 2 wrong usage, a refused request, or a gateway out of reach; 130 interrupted.
 */

const { version } = JSON.parse(readFileSync(`${import.meta.dirname}/../package.json`, 'utf8')) as { version: string };
const defaultUrl = 'http://127.0.0.1:8000';

const program = new Command('imagebuilder')
  .description('Rebuilds operating-system images with PPAs and packages.')
  .version(version)
  .exitOverride()
  .showHelpAfterError('(see `imagebuilder --help`)')
  .addHelpText(
    'after',
    `
Examples:
  $ imagebuilder serve
  $ imagebuilder build --image-url http://images.example/noble.img --series noble --ppa ppa:owner/name hello
  $ imagebuilder status

Exit codes: 0 done, 1 the build failed or was cancelled, a check found a fault, or the service is degraded, 2 wrong usage
or no gateway, 130 interrupted.`,
  );

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
      join(import.meta.dirname, '../stack.yml'),
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
    const { serve } = await import('./serve-command.ts');
    await finish(serve(options));
  });

withGateway(program.command('build'))
  .description('Submits a build and follows it to its end.')
  .argument('[package...]', 'packages to install')
  .option('--image-url <url>', 'base image, or a page or list that names it; repeat for mirrors', collect)
  .option('--series <name>', 'series of the base image, such as noble')
  .option('--checksum <digest>', 'digest that the base image must have: sha256:…, sha384:… or sha512:…')
  .option('--ppa <ppa>', 'a PPA to add, such as ppa:owner/name; may be repeated', collect)
  .option('--package <name>', 'a package to install; may be repeated', collect)
  .option('--debconf-selections <file>', 'a file for debconf-set-selections: answers to questions of packages')
  .option('--foreign-architecture <name>', 'an architecture to enable, such as i386; may be repeated', collect)
  .option('--allow-downgrades', 'let packages named with an older version replace newer ones')
  .option('--hold <name>', 'a package to put on hold in the image; may be repeated', collect)
  .option('--disk-size <size>', 'size that the disk grows to, with its root file system: 20GiB')
  .option('--output-format <format>', 'format of the finished image: qcow2 (default) or raw')
  .option('--boot-check', 'boot the finished image before it is stored')
  .option('--ticket-id <id>', 'your name for the build (default: a new one)')
  .option('--progress-trigger <exchange>', 'RabbitMQ exchange or queue that gets the events')
  .option('--cancel-url <url>', 'polled during the build; "building": false cancels it')
  .option('--callback-url <url>', 'gets the result by POST')
  .addOption(
    new Option('--request <file>', 'the whole request as JSON; - reads standard input').conflicts([
      'imageUrl',
      'series',
      'checksum',
      'ppa',
      'package',
      'debconfSelections',
      'foreignArchitecture',
      'allowDowngrades',
      'hold',
      'outputFormat',
      'bootCheck',
      'diskSize',
      'ticketId',
      'progressTrigger',
      'cancelUrl',
      'callbackUrl',
    ]),
  )
  .option('--no-follow', 'only submit')
  .option('--cancel-on-interrupt', 'Ctrl-C cancels the build instead of only leaving it')
  .option('--json', 'write one JSON object per change; the last one is the result')
  .option('--here', 'build in this process, without a service; takes the settings of a worker')
  .addOption(
    new Option('--dry-run', 'say what would be installed, removed and downloaded, and build nothing; as with --here')
      .implies({ here: true })
      .conflicts(['until', 'shell', 'keep']),
  )
  .addOption(new Option('--until <step>', 'with --here: end after this step').implies({ here: true }))
  .addOption(
    new Option('--keep <folder>', 'with --here: leave the work directory in this folder').implies({ here: true }),
  )
  .addOption(
    new Option('--shell', 'with --here: a shell inside the image after --until or install, or a failure').implies({
      here: true,
    }),
  )
  .addHelpText(
    'after',
    `
Ctrl-C leaves the build running and says how to return to it.

Examples:
  $ imagebuilder build --image-url http://images.example/noble.img --series noble hello cowsay
  $ imagebuilder build --request request.json --json
  $ generate-request | imagebuilder build --request - --no-follow
  $ IMAGEBUILDER_STORE=file imagebuilder build --request request.json --until install --shell`,
  )
  .action((packages: string[], options: BuildOptions) =>
    finish(build({ ...options, package: [...(options.package ?? []), ...packages] })),
  );

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

const images = withGateway(program.command('images'))
  .description(
    'Lists the images in the store, the newest first, page by page; its commands show, download and delete them.',
  )
  .option('--limit <n>', 'images on a page, 1 to 100 (default: 20)')
  .option('--cursor <cursor>', 'the next page, as the page before names it')
  .option('--json', 'write the answer of the API')
  .addHelpText('after', '\nExamples:\n  $ imagebuilder images\n  $ imagebuilder images --limit 100 --json')
  .action((options: ImagesOptions) => finish(listImages(options)));

withGateway(images.command('show'))
  .description('Shows everything that the store has of one build.')
  .argument('<build-id>', 'as `images` shows it')
  .option('--json', 'write the answer of the API')
  .addHelpText('after', '\nExample:\n  $ imagebuilder images show 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55')
  .action((buildId: string, _: object, command: Command) => finish(showImage(buildId, command.optsWithGlobals())));

withGateway(images.command('download'))
  .description('Downloads the image of a build and the files beside it, and verifies them.')
  .argument('<build-id>', 'as `images` shows it')
  .option('--to <folder>', 'the folder that they go into', '.')
  .option('--image-only', 'leave out the files beside the image')
  .addHelpText(
    'after',
    `
A file appears under its name when it is whole and its SHA-256 is right. After an interruption, the same command goes on.
Files in OpenStack without a download URL are read with the OS_* variables or clouds.yaml of the caller.

Example:
  $ imagebuilder images download 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55 --to images`,
  )
  .action((buildId: string, _: object, command: Command) => finish(downloadImage(buildId, command.optsWithGlobals())));

withGateway(images.command('delete'))
  .description('Deletes the image of a build from the store, with the files beside it and the log.')
  .argument('<build-id>', 'as `images` shows it')
  .addHelpText('after', '\nExample:\n  $ imagebuilder images delete 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55')
  .action((buildId: string, _: object, command: Command) => finish(deleteImage(buildId, command.optsWithGlobals())));

program
  .command('store')
  .description('Where finished images go.')
  .command('check')
  .description('Tries it with the settings of the environment: credentials, catalogue, quota, and a tiny upload.')
  .option('--json', 'write one JSON object per thing looked at')
  .addHelpText('after', '\nExamples:\n  $ imagebuilder store check\n  $ OS_CLOUD=lab imagebuilder store check')
  .action((options: { json?: boolean }) => finish(checkStore(options)));

program
  .command('verify')
  .description('Says whether a signed provenance vouches for an image, or for a file beside one.')
  .argument('<image>', 'the file, as the store has it')
  .argument('<provenance>', 'its provenance: the file that ends with .provenance.json')
  .requiredOption('--key <file>', 'the public key (PEM) of the service that has built the image')
  .option('--json', 'write one JSON object')
  .addHelpText(
    'after',
    `
Exit code 1 says that the provenance does not vouch for the file, and why. It needs no service.

Example:
  $ imagebuilder verify noble-T-77-e7233533.qcow2 noble-T-77-e7233533.provenance.json --key provenance.pub`,
  )
  .action((image: string, provenance: string, options: VerifyOptions) => finish(verify(image, provenance, options)));

program
  .command('doctor')
  .description('Says what this machine or pod can do for builds, and what would make them work or faster.')
  .option('--json', 'write one JSON object per thing looked at; the last one is what it comes to')
  .addHelpText(
    'after',
    `
Run it as the user, and with the settings, of the worker. Exit code 1 says that no build can run.

Examples:
  $ imagebuilder doctor
  $ kubectl exec deploy/build-worker -- node function/bin/imagebuilder.ts doctor`,
  )
  // A check that hangs, and was given up, must not keep the process.
  .action(async (options: { json?: boolean }) => process.exit(await doctor(options)));

addDescriptions(program);

function withGateway(command: Command): Command {
  return command
    .addOption(new Option('--url <url>', 'the gateway').env('IMAGEBUILDER_URL').default(defaultUrl))
    .addOption(
      new Option('--token-file <file>', 'file with the token, where the service asks for one').env(
        'IMAGEBUILDER_TOKEN_FILE',
      ),
    )
    .hook('preAction', () => requireKnownVariables(process.env));
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
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

async function finish(exitCode: Promise<number>): Promise<void> {
  process.exitCode = await exitCode;
}

/** One or two lines about the error and, where known, the remedy. */
function explain(thrown: unknown): string {
  if (process.env.IMAGEBUILDER_DEBUG) console.error(thrown);
  const error: ImageBuilderError = toImageBuilderError(thrown);
  const [first, ...more] = error.faults;
  if (first === undefined || more.length === 0) return error.message;
  const summary = upTo(error.message, `: ${first.path} `);
  return [`${summary}:`, ...error.faults.map((fault) => `  ${plain(`${fault.path} ${fault.message}`)}`)].join('\n');
}

// A reader of our output may stop early (`| head`): that is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    process.stderr.write(`imagebuilder: ${explain(error)}\n`);
    process.exitCode = 2;
  }
}
