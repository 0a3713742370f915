import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CdChoice } from '#lib/api/base-image.ts';
import { exec } from '#lib/exec.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { failure } from '../failure.ts';
import { extractMedium } from '../system/extract-medium.ts';
import { type GuestBuilds, openGuestBuilds } from '../system/guest-builds.ts';
import { makeLayeredMedium } from '../system/layered-medium.ts';

/** A live medium with four layers, one of them of a language: what is below each of them, and what gets installed. */

const chains = {
  minimal: ['minimal'],
  standard: ['minimal', 'minimal.standard'],
  live: ['minimal', 'minimal.standard', 'minimal.standard.live'],
  de: ['minimal', 'minimal.standard', 'minimal.standard.de'],
} as const;
type Chain = keyof typeof chains;

/** Everything that a layer above hides, or makes differ: a user, files, deletions, configuration, and a dependency. */
const sample: PackageRecipe = {
  name: 'cd-sample',
  fields: { Depends: 'cd-library' },
  files: {
    '/usr/bin/cd-sample': '#!/bin/sh\necho sample\n',
    '/etc/cd-sample.conf': 'colour = none\n',
    '/opt/samples/hidden': 'new\n',
    '/opt/samples/own': 'new\n',
    '/opt/samples/removed': 'new\n',
    '/opt/closed/new': 'new\n',
  },
  conffiles: ['/etc/cd-sample.conf'],
  scripts: {
    postinst: `
id cd-user >/dev/null 2>&1 || useradd --system --no-create-home cd-user
install -d -o cd-user -g cd-user /var/lib/cd-sample
chown cd-user /etc/cd-sample.conf
`,
  },
};

const onlyInGerman = (text: string) => `if [ -e /opt/only-de ]; then ${text}; fi`;
const packages: readonly PackageRecipe[] = [
  sample,
  {
    name: 'cd-library',
    architecture: 'amd64',
    fields: { 'Multi-Arch': 'same' },
    files: { '/usr/lib/cd-library': 'x' },
  },
  { name: 'cd-fails', scripts: { postinst: onlyInGerman('echo "the words are missing" >&2; exit 1') } },
  { name: 'cd-waits', scripts: { postinst: onlyInGerman('sleep 600') } },
];

const cleanup = new AsyncDisposableStack();
let builds: GuestBuilds;
const trees = new Map<string, string>();
const treeOf = (name: string) => trees.get(name) ?? '';

async function extract(path: string, name: string): Promise<void> {
  trees.set(name, await extractMedium(path, join(builds.directory, name)));
}

/** Runs a script in the file tree that layers of a medium show. */
async function inView(name: string, chain: Chain, script: string): Promise<string> {
  const lower = chains[chain].toReversed();
  const mounting = `
cd "$1"; shift
mkdir -p /run/layers; mount -t tmpfs tmpfs /run/layers; cd /run/layers; mkdir view
for name; do mkdir "$name"; mount -t squashfs -o loop,ro "$OLDPWD/casper/$name.squashfs" "$name"; done
mkdir none; mount -t overlay -o "lowerdir=none:$(echo "$@" | tr ' ' :)" overlay view
mount --bind /dev view/dev
exec chroot view sh -euc "$SCRIPT"`;
  const { stdout } = await exec('unshare', ['--mount', 'sh', '-euc', mounting, 'view', treeOf(name), ...lower], {
    env: { SCRIPT: script },
  });
  return stdout.trim();
}

/** Lines of packages with version and state, and those of dpkg's complaints. */
async function statusIn(name: string, chain: Chain): Promise<string[]> {
  const lines = await inView(
    name,
    chain,
    `dpkg --audit; dpkg-query -W -f '\${Package} \${Version} \${db:Status-Abbrev}\\n'`,
  );
  return lines.split('\n').map((line) => line.trim());
}

async function build(name: string, guest: 'host' | 'vm', wanted: readonly string[], cd?: CdChoice) {
  const built = await builds.build(guest, wanted, cd === undefined ? {} : { cd });
  await extract(built.path, name);
  return built;
}

test.before(async () => {
  const media = await makeLiveMedia(baseImageCache, () => {});
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-layers-'));
  cleanup.defer(() => rm(directory, { recursive: true }));
  const path = await makeLayeredMedium(media.layered, directory);
  builds = cleanup.use(await openGuestBuilds({ imageType: 'cd', path, codename: media.codename }, packages));
  await extract(path, 'base');
});

for (const guest of ['host', 'vm'] as const) {
  test(`${guest}: the default source gets packages, and so does every file tree that stands on its layer`, async () => {
    const before = builds.requests.length;
    const { image, events } = await build(guest, guest, ['cd-sample']);
    assert.equal(
      image.packages?.map(({ name }) => name),
      ['cd-library', 'cd-sample'],
    );
    const progress = events.map((event) => event.progress);
    assert.equal(
      progress,
      progress.toSorted((one, other) => one - other),
    );
    const archives = builds.requests.slice(before).filter(({ path }) => path.endsWith('.deb'));
    assert.is(new Set(archives.map(({ path }) => path)).size, archives.length);
  });
}

const added = ['cd-library 1.0-1 ii', 'cd-sample 1.0-1 ii'];
const samples = `
dpkg --audit
dpkg --verify cd-sample
cd-sample
cat /opt/samples/hidden /opt/samples/own /opt/samples/removed /opt/closed/new
stat -c '%U:%G %a' /etc/cd-sample.conf /var/lib/cd-sample
ls /opt/closed
cat /var/lib/dpkg/info/cd-sample.list | while read -r path; do [ -e "$path" ] || echo "missing: $path"; done
apt-mark showauto cd-sample cd-library`;

test('dpkg is right in every file tree, and no file of a new package is hidden', async () => {
  for (const chain of ['standard', 'live', 'de'] as const) {
    const [before, after] = [await statusIn('base', chain), await statusIn('host', chain)];
    assert.equal(
      after.filter((line) => !before.includes(line)),
      added,
      chain,
    );
    assert.equal(
      before.filter((line) => !after.includes(line)),
      [],
      chain,
    );
    assert.equal(
      (await inView('host', chain, samples)).split('\n'),
      [
        ...['sample', 'new', 'new', 'new', 'new'],
        ...['cd-user:root 644', 'cd-user:cd-user 755'],
        ...(chain === 'de' ? ['new', 'own'] : ['new']),
        'cd-library',
      ],
      chain,
    );
  }
  assert.equal(await statusIn('host', 'minimal'), await statusIn('base', 'minimal'));
  assert.match(await inView('host', 'de', 'cat /etc/passwd /opt/only-de'), /^sprache:[\s\S]*^cd-user:[\s\S]*^de$/m);
});

/** The entries of a layer, without times, and without the sizes of dpkg's own files and of logs. */
async function listLayer(name: string, layer: string): Promise<string[]> {
  const { stdout } = await exec('unsquashfs', ['-lln', join(treeOf(name), `casper/${layer}.squashfs`)]);
  return stdout.split('\n').map((line) => line.replace(/ +\d+ \d{4}-\d\d-\d\d \d\d:\d\d /, ' '));
}

test('both guests make the same layers, and those above hold only what differs from below', async () => {
  for (const layer of ['minimal.standard', 'minimal.standard.live', 'minimal.standard.de']) {
    assert.equal(await listLayer('host', layer), await listLayer('vm', layer));
  }
  const before = await listLayer('base', 'minimal.standard.live');
  const added = (await listLayer('host', 'minimal.standard.live'))
    .filter((line) => !before.includes(line))
    .flatMap((line) => /squashfs-root\/(.+)$/.exec(line)?.slice(1) ?? []);
  assert.not(
    added.some((path) => path.includes('cd-sample') || path.includes('samples')),
    added.join('\n'),
  );
  assert.ok(added.length < 20, added.join('\n'));
});

/** The files of a medium that differ from the base, but for those that writing a medium changes. */
async function differing(name: string): Promise<string[]> {
  const { stdout } = await exec('diff', ['-rq', treeOf('base'), treeOf(name)], { okExitCodes: [0, 1] });
  assert.not.match(stdout, /^Only in/m);
  const paths = [...stdout.matchAll(/^Files (\S+) and /gm)].map(([, path = '']) =>
    path.slice(treeOf('base').length + 1),
  );
  return paths.filter((path) => !['boot/grub/i386-pc/eltorito.img', 'boot.catalog'].includes(path)).sort();
}

const read = async (name: string, path: string) => await readFile(join(treeOf(name), path), 'utf8');
/** The lines of a list that are new, and those that are gone. */
async function changedLines(name: string, path: string): Promise<string[]> {
  const [before, after] = [(await read('base', path)).split('\n'), (await read(name, path)).split('\n')];
  return [
    ...before.filter((line) => !after.includes(line)).map((line) => `< ${line}`),
    ...after.filter((line) => !before.includes(line)).map((line) => `> ${line}`),
  ];
}

test('the lists of all layers are right, and the checksums of the whole medium', async () => {
  await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: treeOf('host') });
  const lists = ['standard', 'standard.live', 'standard.de'].flatMap((name) =>
    ['manifest.full', 'size', 'squashfs'].map((end) => `casper/minimal.${name}.${end}`),
  );
  const whole = ['casper/filesystem.manifest', 'casper/filesystem.size', 'casper/install-sources.yaml', 'md5sum.txt'];
  // The files that the live layer has got may fit into the blocks of those that it had.
  const isCertain = (path: string) => path !== 'casper/minimal.standard.live.size';
  assert.equal(
    (await differing('host')).filter(isCertain),
    [...lists, 'casper/minimal.standard.manifest', ...whole].filter(isCertain).sort(),
  );
  const lines = ['> cd-library\t1.0-1', '> cd-sample\t1.0-1'];
  for (const name of ['filesystem', 'minimal.standard']) {
    assert.equal(await changedLines('host', `casper/${name}.manifest`), lines);
  }
  assert.equal(await changedLines('host', 'casper/minimal.standard.live.manifest.full'), lines);
  const grown = async (path: string) => Number(await read('host', path)) - Number(await read('base', path));
  const own = await grown('casper/minimal.standard.size');
  assert.ok(own > 0 && own % 4096 === 0, String(own));
  assert.is(await grown('casper/filesystem.size'), own);
  const german = own + (await grown('casper/minimal.standard.de.size'));
  const sizes = async (name: string) =>
    [...(await read(name, 'casper/install-sources.yaml')).matchAll(/size: (\d+)/g)].map(([, size]) => Number(size));
  const before = await sizes('base');
  assert.equal(
    (await sizes('host')).map((size, index) => size - (before[index] ?? 0)),
    [own, own, 0, german],
  );
});

test('the lowest source, and a source beside the live session that is to get the change too', async () => {
  await build('lowest', 'host', ['cd-sample'], { source: 'small-minimal' });
  for (const chain of ['minimal', 'standard', 'live', 'de'] as const) {
    assert.equal(
      (await statusIn('lowest', chain)).filter((line) => line.startsWith('cd-')),
      chain === 'de' ? [...added, 'cd-words-de 1.0 ii'] : added,
    );
    assert.not.match(await inView('lowest', chain, samples), 'missing', chain);
  }
  await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: treeOf('lowest') });
  await build('beside', 'host', ['cd-sample'], { source: 'small-de', live: true });
  for (const chain of ['live', 'de'] as const) {
    const status = await statusIn('beside', chain);
    assert.ok(
      added.every((line) => status.includes(line)),
      chain,
    );
  }
  for (const chain of ['minimal', 'standard'] as const) {
    assert.equal(await statusIn('beside', chain), await statusIn('base', chain));
  }
  await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: treeOf('beside') });
});

test('choices that the medium cannot follow are refused before anything is opened', async () => {
  const refusal = async (cd: CdChoice) => await failure(builds.build('host', ['cd-sample'], { cd }));
  const unknown = await refusal({ source: 'desktop' });
  assert.is(unknown.code, 'request.invalid');
  assert.match(unknown.message, /no source "desktop"; it has "small-standard", "small-minimal", "small-de"/);
  const stands = await refusal({ live: false });
  assert.is(stands.code, 'image.unsupported');
  assert.match(stands.message, /cd\.live is false, but the live session .* \/casper\/minimal\.standard\.squashfs/);
});

test('a package that fails in a layer above fails the build, which names the layer', async () => {
  const { code, message } = await failure(builds.build('host', ['cd-fails']));
  assert.is(code, 'apt.install');
  assert.match(message, /^in layer \/casper\/minimal\.standard\.de\.squashfs: the installation failed in cd-fails/);
});

test('a build that is cancelled while it repeats its change ends at once', async () => {
  const stop = new AbortController();
  const reason = new Error('cancelled');
  let isAbove = false;
  const onLine = (line: string) => {
    isAbove ||= line.startsWith('layer /casper/minimal.standard.de.squashfs');
    if (isAbove && line.startsWith('Setting up cd-waits')) stop.abort(reason);
  };
  const thrown = await builds.build('host', ['cd-waits'], { signal: stop.signal, onLine }).catch((error) => error);
  assert.is(thrown, reason);
});

test.after(() => cleanup.disposeAsync());

test.run();
