import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { workerArchitecture } from '#lib/architecture.ts';
import { toImageBuilderError } from '#lib/errors.ts';
import { makeDebianPackage } from './deb.ts';
import { newestCommit, sourceDate } from './source-date.ts';
import { makeTarball } from './tarball.ts';

/** `npm run package`: makes what an operator installs (docs/installing.md). */

const root = dirname(import.meta.dirname);

const { to, architecture } = new Command('npm run package --')
  .description('Makes the packages of a release, and writes their paths.')
  .option('--to <folder>', 'folder for them', join(root, 'build', 'packages'))
  .option('--architecture <names...>', 'Debian architectures of the Debian packages', [workerArchitecture])
  .addHelpText(
    'after',
    `
Files have the time of the newest commit, or of SOURCE_DATE_EPOCH, in seconds since 1970: packages of one commit are
alike, byte for byte.`,
  )
  .parse()
  .opts<{ to: string; architecture: string[] }>();

try {
  const folder = resolve(to);
  await mkdir(folder, { recursive: true });
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  const release = { root, version, seconds: await sourceDate(root), to: folder };
  process.stdout.write(`${await makeTarball(release)}\n`);
  const maintainer = await maintainerOf();
  for (const one of architecture) {
    process.stdout.write(`${await makeDebianPackage({ ...release, maintainer, architecture: one })}\n`);
  }
} catch (error) {
  process.stderr.write(`${toImageBuilderError(error).message}\n`);
  process.exitCode = 1;
}

/** The maintainer by the variables of Debian's own tools (debchange(1)), or else the author of the newest commit. */
async function maintainerOf(): Promise<string> {
  const { DEBFULLNAME: name, DEBEMAIL: address } = process.env;
  return name && address ? `${name} <${address}>` : await newestCommit(root, '%an <%ae>');
}
