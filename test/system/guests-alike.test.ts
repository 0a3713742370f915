import { open, readFile, rm } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { ChangesDocument } from '#lib/manifest/changes.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { readCyclonedx } from '../bills/cyclonedx.ts';
import { readSpdx } from '../bills/spdx.ts';
import { isLong } from '../runner/long.ts';
import { type GuestBuilds, openGuestBuilds } from './guest-builds.ts';
import { compareListings, type Difference } from './image-comparison.ts';
import { type ImageListing, listImage, listRaw } from './image-listing.ts';
import { assertPackages, assertRepositories, buildDefinitionOf } from './provenance.ts';
import { enabledLink, servicePackage, startedMark } from './service-package.ts';

/** All that a package can leave in an image besides plain files. */
const oddPackage: PackageRecipe = {
  name: 'odd-things',
  fields: { Depends: 'libcap2-bin, jq', 'Pre-Depends': 'adduser' },
  files: {
    '/etc/odd/settings.conf': 'colour = none\n',
    '/etc/odd/kept.conf': 'one\n',
    '/usr/bin/odd': '#!/bin/sh\necho odd\n',
    '/usr/bin/odd-privileged': '#!/bin/sh\nid\n',
    '/usr/share/odd/mit Leerzeichen & ümlaut': 'text\n',
    '/usr/share/odd/empty': '',
    '/usr/share/doc/odd-things/copyright': `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+ or Odd
`,
    '/boot/odd.map': 'on another partition\n',
  },
  conffiles: ['/etc/odd/settings.conf', '/etc/odd/kept.conf'],
  links: {
    '/usr/share/odd/relative': '../../bin/odd',
    '/usr/share/odd/absolute': '/usr/bin/odd',
    '/usr/share/odd/dangling': '/nowhere/at/all',
  },
  scripts: {
    preinst: 'adduser --system --group --home /var/lib/odd --quiet odd',
    postinst: `
chown odd:odd /usr/bin/odd-privileged
chmod 4750 /usr/bin/odd-privileged
setcap cap_net_bind_service=+ep /usr/bin/odd
ln -f /usr/bin/odd /usr/bin/odd-again
install -d -o odd -g odd -m 2770 /var/lib/odd/spool
install -d -m 1777 /var/lib/odd/shared
mkfifo -m 620 /var/lib/odd/pipe
dd if=/dev/zero of=/var/lib/odd/sparse bs=1 count=1 seek=5000000 2>/dev/null
echo changed by a script >>/etc/hosts
update-alternatives --install /usr/bin/odd-link odd-link /usr/bin/odd-privileged 10
`,
  },
};

const cleanup = new AsyncDisposableStack();
const signal = new AbortController().signal;
let builds: GuestBuilds;
// With set-group-id programs, users, services, triggers, alternatives, and a library.
const wanted = ['odd-things', 'eager-service', 'nginx-light', 'cron', 'jq'];
const kept = { IMAGEBUILDER_FINISHED_CACHE_SIZE: '2G' };
interface Made {
  readonly path: string;
  readonly listing: ImageListing;
  /** Contents of the files beside the image, by their roles. */
  readonly documents: ReadonlyMap<string, string>;
}
const made = new Map<'host' | 'vm', Made>();
/** Whole seconds, as times in listings are. */
const startedSeconds = Math.floor(Date.now() / 1000);

test('one request is built by both guests', async () => {
  // One with a /boot of its own is not made for this test alone.
  const variant = isLong ? 'separate-boot' : 'plain';
  builds = cleanup.use(await openGuestBuilds(variant, [oddPackage, servicePackage]));
  for (const guest of ['host', 'vm'] as const) {
    const { path, image, artifacts } = await builds.build(guest, wanted, { environment: kept });
    assert.equal((await hashFile(path)).checksums, image.checksums);
    const names = image.packages?.map(({ name }) => name) ?? [];
    assert.ok(names.includes('odd-things') && names.includes('jq'), names.join(' '));
    const documents = new Map<string, string>();
    for (const { role, location } of artifacts) documents.set(role, await readFile(fileURLToPath(location), 'utf8'));
    made.set(guest, { path, documents, listing: await listImage(path, builds.directory) });
  }
});

function imageOf(guest: 'host' | 'vm'): Made {
  const found = made.get(guest);
  if (found === undefined) throw new Error(`there is no image of the ${guest} guest`);
  return found;
}

/** All allowed differences, with their reasons. Times of changes are compared only where the base has set them. */
const explained: readonly Pick<Difference, 'path' | 'what'>[] = [
  // ldconfig keeps the times and inodes of libraries here, to save itself reading them again.
  { path: '1:/var/cache/ldconfig/aux-cache', what: 'content' },
];

test('the same request again gets the image that its own guest has made, and the same manifest', async () => {
  for (const guest of ['vm', 'host'] as const) {
    const { image, artifacts, events } = await builds.build(guest, wanted, { environment: kept });
    assert.ok(image.reused, guest);
    assert.not.ok(events.some(({ step }) => step === 'open'));
    assert.equal((await hashFile(imageOf(guest).path)).checksums, image.checksums);
    const manifest = artifacts.find(({ role }) => role === 'manifest');
    assert.is(
      await readFile(fileURLToPath(manifest?.location ?? ''), 'utf8'),
      imageOf(guest).documents.get('manifest'),
    );
  }
});

test('the image that a vm makes is the one that the host guest makes, file by file', () => {
  const differences = compareListings(imageOf('host').listing, imageOf('vm').listing, startedSeconds);
  assert.equal(
    differences.filter(({ path, what }) => !explained.some((entry) => entry.path === path && entry.what === what)),
    [],
  );
  const { files } = imageOf('vm').listing;
  assert.is(files.get('1:/usr/bin/odd-privileged')?.mode, '4750', 'the package has done what it can');
  assert.match(files.get('1:/usr/bin/odd')?.attributes ?? '', /security\.capability/);
  assert.is(files.get('1:/usr/bin/odd-again')?.sameAs, '/usr/bin/odd');
  assert.ok(files.has(isLong ? '16:/odd.map' : '1:/boot/odd.map'));
});

test('no service was started, in whichever way its package has tried, and it is enabled', () => {
  for (const guest of ['host', 'vm'] as const) {
    const { files } = imageOf(guest).listing;
    assert.ok(files.has(`1:${enabledLink}`) && files.has('1:/etc/rc2.d/S01eager-service'));
    assert.not(files.has(`1:${startedMark}`));
  }
});

test('manifest and changes are the same from both guests, and say which packages were asked for', () => {
  const { documents } = imageOf('host');
  for (const role of ['manifest', 'changes']) {
    assert.is(imageOf('vm').documents.get(role), documents.get(role));
  }
  assert.match(documents.get('manifest') ?? '', /^libc6:amd64\t\S+$/m);
  const { packages, files } = ChangesDocument.parse(JSON.parse(documents.get('changes') ?? ''));
  const asked = packages.added.filter((entry) => entry.asked).map(({ name }) => name);
  assert.equal(asked, ['cron', 'eager-service', 'jq', 'nginx-light', 'odd-things']);
  assert.is(packages.added.find(({ name }) => name === 'libjq1')?.asked, false);
  const touched = (wanted: string) => files?.touched.find(({ path }) => path === wanted);
  assert.equal(touched('/usr/bin/odd-again'), { path: '/usr/bin/odd-again', type: 'file', mode: '0755', size: 19 });
  assert.equal(touched('/var/lib/odd/pipe')?.type, 'pipe');
  assert.ok(touched('/etc/hosts') && touched('/etc/passwd') && touched('/etc/alternatives/odd-link'));
  const known = [
    '/usr/bin/jq',
    '/usr/bin/odd-privileged',
    '/usr/bin/systemd-detect-virt',
    '/usr/sbin/start-stop-daemon',
    '/boot/odd.map',
    '/etc/machine-id',
  ];
  assert.equal(known.filter(touched), []);
});

test('the bills of both guests name the same licences, of packages of the base and of new ones', () => {
  const declared = (guest: 'host' | 'vm') => {
    const { packages } = readSpdx(imageOf(guest).documents.get('spdx') ?? '');
    const debian = packages.filter(({ SPDXID }) => SPDXID.startsWith('SPDXRef-Package-'));
    return new Map(debian.map(({ name, licenseDeclared }) => [name, licenseDeclared]));
  };
  const ofHost = declared('host');
  assert.equal(declared('vm'), ofHost);
  assert.is(ofHost.get('odd-things'), 'GPL-2.0-or-later OR LicenseRef-odd');
  assert.match(ofHost.get('adduser') ?? '', 'GPL-2.0-or-later');
  assert.match(ofHost.get('nginx-common') ?? '', 'BSD-2-Clause');
  const { components } = readCyclonedx(imageOf('vm').documents.get('cyclonedx') ?? '');
  const licensed = components.filter(({ licenses }) => licenses !== undefined).length;
  assert.is([...ofHost.values()].filter((text) => text !== 'NOASSERTION').length, licensed);
  assert.ok(licensed > ofHost.size / 2, `${licensed} of ${ofHost.size}`);
});

test('both guests fetch the same package files, which the provenance names with what the servers have', async () => {
  const materialsOf = (guest: 'host' | 'vm') =>
    buildDefinitionOf(imageOf(guest).documents.get('provenance') ?? '').resolvedDependencies;
  const packages = await assertPackages(materialsOf('host'), builds.ppaUrl);
  assert.equal(await assertPackages(materialsOf('vm'), builds.ppaUrl), packages);
  const { added } = ChangesDocument.parse(JSON.parse(imageOf('host').documents.get('changes') ?? '')).packages;
  assert.is(packages.length, added.length);
  const own = packages.filter(({ uri }) => uri?.startsWith(builds.ppaUrl)).map(({ name }) => name);
  assert.equal(own.map((name) => name.replace(/^.*\/|@.*$/g, '')).sort(), ['eager-service', 'odd-things']);
  for (const { name, annotations } of packages) {
    const { repositories } = RepositoriesOf.parse(annotations);
    assert.ok(repositories.length > 0, name);
    for (const { component } of repositories) assert.is(component, 'main', name);
  }
});

test('both guests know the same repositories by their signers, and how many packages each has provided', async () => {
  const materialsOf = (guest: 'host' | 'vm') =>
    buildDefinitionOf(imageOf(guest).documents.get('provenance') ?? '').resolvedDependencies;
  const repositories = await assertRepositories(materialsOf('host'), builds.ppaUrl);
  // Between the two builds the distribution may publish anew, or a mirror may send Release in place of InRelease.
  const steady = (found: typeof repositories) =>
    found.map((each) => {
      const { repository, release, signers, packages } = each.annotations;
      const whole = each.uri.startsWith(builds.ppaUrl) ? each : null;
      return { repository, codename: release.codename, signers, packages, whole };
    });
  assert.equal(steady(await assertRepositories(materialsOf('vm'), builds.ppaUrl)), steady(repositories));
  assert.ok(repositories.length > 1, 'the distribution has none');
  const [own] = repositories.filter(({ uri }) => uri.startsWith(builds.ppaUrl));
  assert.is(own?.annotations.packages, 2);
  assert.ok(repositories.some(({ uri, annotations }) => !uri.startsWith(builds.ppaUrl) && annotations.packages > 0));
});

const RepositoriesOf = z.object({ repositories: z.array(z.object({ suite: z.string(), component: z.string() })) });

test('the provenance names the kernel and the QEMU of the vm, which the host guest does not have', () => {
  const ofVm = buildDefinitionOf(imageOf('vm').documents.get('provenance') ?? '').internalParameters;
  assert.is(ofVm.guest, 'vm');
  assert.match(String(ofVm.kernel), /^[0-9]+\.[0-9]+/);
  assert.match(String(ofVm.emulator), /[0-9]+\.[0-9]+/);
  const ofHost = buildDefinitionOf(imageOf('host').documents.get('provenance') ?? '').internalParameters;
  assert.equal(ofHost, { guest: 'host', accelerator: null, kernel: release(), emulator: null });
});

test('a difference that is planted in an image is seen', async () => {
  const { path, listing } = imageOf('host');
  const raw = join(builds.directory, 'planted.raw');
  await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, raw]);
  const inspection = await inspectImage(raw, { maximumVirtualBytes: 2 ** 34, signal });
  const place = (number: number) => inspection.partitions.find((other) => other.number === number)?.offsetBytes ?? 0;
  await exec('debugfs', ['-w', '-f', '-', `${raw}?offset=${place(1)}`], {
    input: `set_inode_field /usr/bin/jq mode 0100777
set_inode_field /etc/hosts gid 7
set_inode_field /etc/odd/kept.conf mtime @1000000000
zap_block -f /etc/odd/settings.conf -p 65 0
ea_rm /usr/bin/odd security.capability
rm /usr/share/odd/empty
symlink /usr/share/odd/new /etc/passwd
rm /usr/share/odd/absolute
symlink /usr/share/odd/absolute /usr/bin/even
`,
  });
  const handle = await open(raw, 'r+');
  await handle.write(Buffer.from('planted'), 0, 7, place(14) + 1000);
  await handle.close();
  const planted = await listRaw(raw, inspection.virtualSizeBytes, inspection.partitions);
  await rm(raw);
  const found = compareListings(listing, planted, startedSeconds).map((entry) => `${entry.path} ${entry.what}`);
  assert.equal(found, [
    '1:/etc/hosts owner',
    '1:/etc/odd/kept.conf modified',
    '1:/etc/odd/settings.conf content',
    '1:/usr/bin/jq mode',
    '1:/usr/bin/odd attributes',
    '1:/usr/bin/odd-again attributes',
    '1:/usr/share/odd/absolute target',
    '1:/usr/share/odd/empty presence',
    '1:/usr/share/odd/new presence',
    `${place(14)}-${place(15)} content`,
  ]);
});

test.after(async () => {
  await cleanup.disposeAsync();
});

test.run();
