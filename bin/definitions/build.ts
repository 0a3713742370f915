import { type Command, Option } from 'commander';
import { type BuildOptions, build } from '../build-commands.ts';
import { collect, finish, withGateway } from './options.ts';

export function addBuild(program: Command): void {
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
    .option('--no-reuse', 'build anew, even where the worker has made the same image before')
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
        'reuse',
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
}
