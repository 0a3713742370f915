import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';

/** The layered live medium of the laboratory, with a layer of a language beside the live one. Needs root. */

const layer = 'casper/minimal.standard.de';
const words = { Package: 'cd-words-de', Status: 'install ok installed', Architecture: 'all', Version: '1.0' };

/**
 * Content that hides what packages install below it: dpkg's database and the users, a deletion, an opaque folder, a file.
 * `/opt/only-de` tells the scripts of packages where they run.
 */
const content = `
mkdir -p var/lib/dpkg/info etc opt/samples opt/closed
mknod opt/samples/hidden c 0 0
setfattr -n trusted.overlay.opaque -v y opt/closed
echo own >opt/closed/own
echo own >opt/samples/own
echo de >opt/only-de
: >var/lib/dpkg/info/cd-words-de.list
: >var/lib/dpkg/info/cd-words-de.md5sums
`;

const catalogue = `- default: false
  description: {en: In German.}
  id: small-de
  locale_support: langpack
  name: {en: Klein}
  path: minimal.standard.de.squashfs
  size: 1000000
  type: fsimage-layered
`;

/** Makes the medium in `directory`, from the medium `from`. */
export async function makeLayeredMedium(from: string, directory: string): Promise<string> {
  const path = join(directory, 'layered.iso');
  const place = join(directory, 'german');
  const tree = join(place, 'tree');
  const run = { cwd: place };
  await mkdir(tree, { recursive: true });
  const names = ['minimal', 'minimal.standard'].map((name) => `casper/${name}.squashfs`);
  const lists = ['casper/install-sources.yaml', 'md5sum.txt', 'casper/minimal.standard.manifest.full'];
  await mkdir(join(place, 'casper'));
  const extract = [...names, ...lists].flatMap((name) => ['-extract', `/${name}`, join(place, name)]);
  await exec('xorriso', ['-osirrox', 'on', '-indev', from, ...extract]);
  await exec('chmod', ['-R', 'u+w', place]);
  await exec('sh', ['-euc', content], { cwd: tree });
  const { stdout: status } = await exec('unsquashfs', ['-cat', names[1] ?? '', 'var/lib/dpkg/status'], run);
  const stanza = Object.entries({ ...words, Maintainer: 'Test <test@example.org>', Description: 'words' })
    .map(([field, value]) => `${field}: ${value}\n`)
    .join('');
  await writeFile(join(tree, 'var/lib/dpkg/status'), `${status.trimEnd()}\n\n${stanza}\n`);
  const { stdout: users } = await exec('unsquashfs', ['-cat', names[0] ?? '', 'etc/passwd'], run);
  await writeFile(join(tree, 'etc/passwd'), `${users}sprache:x:999:100::/:/usr/sbin/nologin\n`);
  const packing = ['-noappend', '-quiet', '-no-progress', '-xattrs', '-comp', 'zstd'];
  await exec('mksquashfs', ['tree', `${layer}.squashfs`, ...packing], run);
  const full = await readFile(join(place, 'casper/minimal.standard.manifest.full'), 'utf8');
  const line = `${words.Package}\t${words.Version}`;
  const sorted = [...full.trimEnd().split('\n'), line].sort();
  const texts: Readonly<Record<string, string>> = {
    [`${layer}.manifest.full`]: `${sorted.join('\n')}\n`,
    [`${layer}.manifest`]: `--- standard.manifest.full\t2026\n+++ de.manifest.full\t2026\n+${line}\n`,
    [`${layer}.size`]: '1000000\n',
    'casper/install-sources.yaml': (await readFile(join(place, 'casper/install-sources.yaml'), 'utf8')).replace(
      'version: 2',
      `${catalogue}version: 2`,
    ),
  };
  for (const [name, text] of Object.entries(texts)) await writeFile(join(place, name), text);
  const changed = [`${layer}.squashfs`, ...Object.keys(texts)];
  const { stdout: sums } = await exec('md5sum', ['--', ...changed.map((name) => `./${name}`)], run);
  const before = await readFile(join(place, 'md5sum.txt'), 'utf8');
  const kept = before.split('\n').filter((one) => one !== '' && !one.endsWith('/install-sources.yaml'));
  await writeFile(join(place, 'md5sum.txt'), `${kept.join('\n')}\n${sums}`);
  await exec('xorriso', [
    ...['-indev', from, '-outdev', path, '-joliet', 'on', '-boot_image', 'any', 'replay', '-padding', 'included'],
    ...['-compliance', 'no_emul_toc:joliet_long_names'],
    ...[...changed, 'md5sum.txt'].flatMap((name) => ['-map', join(place, name), `/${name}`]),
  ]);
  return path;
}
