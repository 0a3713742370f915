import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { type ImageBuilderError, toImageBuilderError } from '#lib/errors.ts';
import { plain, upTo } from '#lib/text.ts';
import { addBuild } from './definitions/build.ts';
import { addBuilds } from './definitions/builds.ts';
import { addChecks } from './definitions/checks.ts';
import { addDescriptions } from './definitions/descriptions.ts';
import { addImages } from './definitions/images.ts';
import { addServe } from './definitions/serve.ts';

/**
 * The command line. Exit codes: 0 done; 1 the build failed or was cancelled, a check found a fault, or the service is
 * degraded; 2 wrong usage, a refused request, or a gateway out of reach; 130 interrupted.
 */

const { version } = JSON.parse(readFileSync(`${import.meta.dirname}/../package.json`, 'utf8')) as { version: string };

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

addServe(program);
addBuild(program);
addBuilds(program);
addImages(program);
addChecks(program);
addDescriptions(program);

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
