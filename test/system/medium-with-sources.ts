import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { spliceSquashfs } from '#lib/squashfs/splice/splice.ts';
import { distributionSources, readAptSources, readRelease } from '../../lab/images/apt-sources.ts';
import { spec } from '../squashfs/files.ts';
import { limits, makeSquashfs, openFile } from '../squashfs/make.ts';
import { changeMedium } from './change-medium.ts';

/** The layer of the laboratory's layered medium in which the default source is, and its compressor. */
const layer = 'casper/minimal.standard.squashfs';
const compressor = 'xz';

/**
 * Makes of the laboratory's layered medium one in `directory` whose apt knows this machine's own repositories, for packages of
 * the distribution. Needs root.
 */
export async function addSources(medium: string, directory: string): Promise<string> {
  const at = (name: string) => join(directory, name);
  const extract = ['-extract', `/${layer}`, at('base'), '-extract', '/md5sum.txt', at('md5sum.txt')];
  await exec('xorriso', ['-osirrox', 'on', '-indev', medium, ...extract]);
  const files = new Map([
    ['etc', spec('directory')],
    ['etc/apt', spec('directory')],
    ['etc/apt/sources.list', spec('file', { content: Buffer.from(await ownSources()) })],
  ]);
  await makeSquashfs(at('delta'), files, '-comp', compressor);
  await using base = await openFile(at('base'));
  await using delta = await openFile(at('delta'));
  const { signal } = limits;
  await spliceSquashfs(base.squashfs, delta.squashfs, at('layer'), { bottom: false, signal });
  const { stdout } = await exec('md5sum', ['--', at('layer')]);
  const sums = (await readFile(at('md5sum.txt'), 'utf8')).split('\n');
  const changed = sums.map((line) => (line.endsWith(`/${layer}`) ? `${stdout.slice(0, 32)}  ./${layer}` : line));
  return await changeMedium(medium, at('with-sources.iso'), {
    [`/${layer}`]: await readFile(at('layer')),
    '/md5sum.txt': changed.join('\n'),
  });
}

async function ownSources(): Promise<string> {
  const release = await readRelease();
  const keyring = `/usr/share/keyrings/${release.distribution}-archive-keyring.gpg`;
  return distributionSources(await readAptSources(), release)
    .map(({ uri, suite, components }) => `deb [signed-by=${keyring}] ${uri} ${suite} ${components.join(' ')}\n`)
    .join('');
}
