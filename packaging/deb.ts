import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { exec } from '#lib/exec.ts';
import { copyrightFile, type LicensedPackage } from './copyright.ts';
import { dependenciesOn } from './dependencies.ts';
import { environmentFile } from './environment.ts';
import { below, compress, installation, programFolder } from './installation.ts';
import { findNode } from './node.ts';
import { productionPackages } from './npm-packages.ts';
import type { Release } from './tarball.ts';
import { type Entry, type Tree, writeTree } from './tree.ts';

/** A Debian package to make. */
export interface DebianRelease extends Release {
  /** Name and address, such as `Ann Example <ann@example.org>`. */
  readonly maintainer: string;
  /** Of Debian, such as `amd64`. */
  readonly architecture: string;
  /** Compression and its level; xz takes a minute and makes the smallest file. */
  readonly compression?: readonly ['xz' | 'gzip' | 'none', number];
}

const maintainerScripts = ['postinst', 'prerm', 'postrm'];
const configurationFile = 'etc/imagebuilder/environment';

/** Makes the Debian package, with Node in it; resolves with its path. The same files give the same bytes. */
export async function makeDebianPackage(release: DebianRelease): Promise<string> {
  const { root, seconds, to, architecture, compression: [method, level] = ['xz', 6] } = release;
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-deb-'));
  try {
    const node = await findNode(root, architecture, join(directory, 'node'));
    const files = await packageTree(release, node);
    const control = await controlFiles(release, files);
    const staged = join(directory, 'package');
    await writeTree(new Map([...files, ...below('DEBIAN', control)]), staged, seconds);
    const path = join(to, `imagebuilder_${debianVersion(release.version)}_${architecture}.deb`);
    const options = ['--root-owner-group', `-Z${method}`, `-z${level}`];
    const env = { SOURCE_DATE_EPOCH: String(seconds) };
    await exec('dpkg-deb', [...options, '--build', staged, path], { env });
    return path;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A version by npm's rules as one by Debian's: what comes before a release sorts before it. */
export const debianVersion = (version: string): string => version.replace('-', '~').replaceAll('-', '.');

async function packageTree(release: DebianRelease, node: LicensedPackage): Promise<Tree> {
  const { root, version, seconds, maintainer } = release;
  const packages = (await productionPackages(root)).map((one) => ({ ...one, files: join(root, one.folder) }));
  const documentation = 'usr/share/doc/imagebuilder';
  const date = new Date(seconds * 1000).toUTCString().replace('GMT', '+0000');
  const change = `imagebuilder (${debianVersion(version)}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- ${maintainer}  ${date}\n`;
  return new Map<string, Entry>([
    ...below('usr', await installation(root, '/usr')),
    [`usr/${programFolder}/${node.folder}/bin/node`, { source: join(node.files, 'bin/node'), mode: 0o755 }],
    [`usr/${programFolder}/${node.folder}/package.json`, { source: join(node.files, 'package.json') }],
    [`usr/${programFolder}/node_modules/.bin/node`, { link: `../${node.name}/bin/node` }],
    [configurationFile, { content: environmentFile() }],
    ['etc/imagebuilder/secrets', { folder: true, mode: 0o750 }],
    [`${documentation}/changelog.gz`, { content: compress(change) }],
    [`${documentation}/copyright`, { content: await copyrightFile([...packages, node]) }],
    ['usr/share/lintian/overrides/imagebuilder', await fromDebianFolder(root, 'lintian-overrides')],
  ]);
}

async function controlFiles({ root, version, maintainer, architecture }: DebianRelease, files: Tree): Promise<Tree> {
  const { depends, recommends } = await dependenciesOn(root, architecture);
  const fields = [
    ['Package', 'imagebuilder'],
    ['Version', debianVersion(version)],
    ['Architecture', architecture],
    ['Maintainer', maintainer],
    ['Installed-Size', String(await installedKiB(files))],
    ['Depends', depends.join(', ')],
    ['Recommends', recommends.join(', ')],
    ['Section', 'admin'],
    ['Priority', 'optional'],
    ['Description', description],
  ];
  const scripts = maintainerScripts.map(
    async (name): Promise<[string, Entry]> => [name, { ...(await fromDebianFolder(root, name)), mode: 0o755 }],
  );
  return new Map<string, Entry>([
    ['control', { content: fields.map(([name, value]) => `${name}: ${value}\n`).join('') }],
    ['conffiles', { content: `/${configurationFile}\n` }],
    ['md5sums', { content: await sumsOf(files) }],
    ...(await Promise.all(scripts)),
  ]);
}

const description = `service that adds PPAs and packages to operating-system images
 Image Builder takes a base operating-system image, adds PPAs and packages, and
 gives back a new image that boots. Callers post requests to its API, and follow
 builds by AMQP, by callbacks or in a browser.
 .
 It needs a RabbitMQ, on this machine or on another one.`;

async function fromDebianFolder(root: string, name: string): Promise<{ readonly content: string }> {
  return { content: await readFile(join(root, 'packaging/debian', name), 'utf8') };
}

/** Disk space by Debian policy, 5.6.20: whole KiB for each file, and one for everything else. */
async function installedKiB(files: Tree): Promise<number> {
  let kib = 0;
  for (const entry of files.values()) {
    if ('content' in entry) kib += Math.ceil(Buffer.byteLength(entry.content) / 1024);
    else if ('source' in entry) kib += Math.ceil((await stat(entry.source)).size / 1024);
    else kib += 1;
  }
  return kib;
}

/** As dh_md5sums writes them: of all files but those of the administrator. */
async function sumsOf(files: Tree): Promise<string> {
  const lines: string[] = [];
  for (const [path, entry] of [...files].sort(([one], [other]) => (one < other ? -1 : 1))) {
    if (path === configurationFile || 'link' in entry || 'folder' in entry) continue;
    const hash = createHash('md5');
    if ('content' in entry) hash.update(entry.content);
    else await pipeline(createReadStream(entry.source), hash);
    lines.push(`${hash.digest('hex')}  ${path}\n`);
  }
  return lines.join('');
}
