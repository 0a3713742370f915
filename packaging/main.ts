import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { workerArchitecture } from '#lib/architecture.ts';
import { toImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { makeDebianPackage } from './deb.ts';
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
  const release = { root, version, seconds: await sourceDate(), to: folder };
  process.stdout.write(`${await makeTarball(release)}\n`);
  const maintainer = await maintainerOf();
  for (const one of architecture) {
    process.stdout.write(`${await makeDebianPackage({ ...release, maintainer, architecture: one })}\n`);
  }
} catch (error) {
  process.stderr.write(`${toImageBuilderError(error).message}\n`);
  process.exitCode = 1;
}

/** Seconds since 1970 (https://reproducible-builds.org/specs/source-date-epoch/). */
async function sourceDate(): Promise<number> {
  const text = process.env.SOURCE_DATE_EPOCH || (await newestCommit('%ct'));
  if (!/^[0-9]{1,11}$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH is ${text}, and must be seconds since 1970`);
  return Number(text);
}

/** The maintainer by the variables of Debian's own tools (debchange(1)), or else the author of the newest commit. */
async function maintainerOf(): Promise<string> {
  const { DEBFULLNAME: name, DEBEMAIL: address } = process.env;
  return name && address ? `${name} <${address}>` : await newestCommit('%an <%ae>');
}

async function newestCommit(format: string): Promise<string> {
  const words = ['-C', root, '-c', `safe.directory=${root}`, 'log', '-1', `--format=${format}`];
  return (await exec('git', words)).stdout.trim();
}
