import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { workerArchitecture } from '#lib/architecture.ts';
import { toImageBuilderError } from '#lib/errors.ts';
import { sourceDate } from '../source-date.ts';
import { makeCharm, makeCharmFolder } from './pack.ts';

/** `npm run charm`: makes the Juju charm (docs/juju.md). */

const root = join(import.meta.dirname, '../..');

const { to, architecture, folder } = new Command('npm run charm --')
  .description('Makes the Juju charm, and writes its path.')
  .option('--to <folder>', 'folder for it', join(root, 'build', 'packages'))
  .option('--architecture <names...>', 'Debian architectures of the machines', [workerArchitecture])
  .option('--folder', 'make a folder in which `charmcraft pack` makes the charm', false)
  .addHelpText(
    'after',
    `
Files have the time of the newest commit, or of SOURCE_DATE_EPOCH, in seconds since 1970: charms of one commit are
alike, byte for byte. Node.js of another architecture than this machine's comes from npm's cache or registry.`,
  )
  .parse()
  .opts<{ to: string; architecture: string[]; folder: boolean }>();

try {
  const target = resolve(to);
  await mkdir(target, { recursive: true });
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  const release = { root, version, seconds: await sourceDate(root), to: target };
  for (const one of architecture) {
    process.stdout.write(`${await (folder ? makeCharmFolder : makeCharm)({ ...release, architecture: one })}\n`);
  }
} catch (error) {
  process.stderr.write(`${toImageBuilderError(error).message}\n`);
  process.exitCode = 1;
}
