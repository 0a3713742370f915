import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertSeries, readImageFacts } from '#lib/apt/facts.ts';
import { comparePackages, readPackages } from '#lib/apt/packages.ts';
import { addSources, sourceFiles } from '#lib/apt/sources.ts';
import type { AptProgress } from '#lib/apt/update.ts';
import { exec } from '#lib/exec.ts';
import { failure } from '../../failure.ts';
import type { Chroot } from './chroot.ts';
import { type AptHouse, both, type OpenApt, quiet, type WhoseApt } from './house.ts';

/** The promises of the interface `Apt`, kept by the image's own apt and by the worker's that stands in for it. */
export function aptsAreAlike(test: Test<AptHouse>): void {
  sourcesComeWithUpdates(test);
  for (const who of both) {
    /** Opens the apt for the shared system with this PPA as its only source. */
    const openWith = async (house: AptHouse, ppa: string): Promise<OpenApt> => {
      await house.setSource(await house.resolve(ppa));
      return await house.open(who);
    };

    test(`${who}: one error names every package that cannot be had and why, and nothing is installed`, async (house) => {
      await using opened = await openWith(house, 'c++');
      const { apt, session, facts } = opened;
      await apt.updateLists(quiet);
      const wanted = ['missing-a', 'hello-one', 'hello-extra=9', 'needs-nothing-there', 'bash-', 'hello-one/sid'];
      const error = await failure(apt.installPackages(wanted, quiet));
      assert.is(error.code, 'apt.package');
      assert.equal(
        error.faults.map(({ path }) => path),
        [0, 2, 3, 4, 5].map((index) => `$.package_list[${index}]`),
      );
      assert.match(error.message, /missing-a: no repository/);
      assert.match(error.message, /hello-extra=9: there is no version 9/);
      assert.match(error.message, /needs-nothing-there: Depends: not-there \(>= 2\).*neither-there/);
      assert.match(error.message, /bash-: no repository/);
      assert.match(error.message, /hello-one\/sid: the suite sid/);
      const conflict = await failure(apt.installPackages(['hates-one', 'hello-one'], quiet));
      assert.is(conflict.code, 'apt.package');
      assert.match(conflict.message, /hates-one/);
      const alone = await failure(apt.installPackages(['hello-two'], quiet));
      assert.match(alone.message, /hello-two: Depends: jq/, 'without Debian’s own source, jq is not there');
      assert.equal((await readPackages(session)).packages, facts.packages);
    });

    test(`${who}: a package whose script fails is named, with what it said and no other reason`, async (house) => {
      await using opened = await openWith(house, 'c++');
      const { apt, session } = opened;
      await apt.updateLists(quiet);
      const error = await failure(apt.installPackages(['hello-one', 'hello-failing'], quiet));
      assert.is(error.code, 'apt.install');
      assert.match(error.message, /hello-failing: .*post-installation script.* 7/);
      assert.not.match(error.message, 'network');
      assert.ok(error.logTail.includes('the moon is in the wrong phase'));
      assert.is((await failure(readImageFacts(session))).code, 'image.corrupt');
    });

    test(`${who}: a full file system is reported as such`, async (house) => {
      await house.setSource(await house.resolve('c++'));
      await using opened = await house.open(who, { binds: [{ source: 'tmpfs:8m', target: '/opt' }] });
      await opened.apt.updateLists(quiet);
      assert.is((await failure(opened.apt.installPackages(['big'], quiet))).code, 'image.full');
    });

    test(`${who}: recommended packages are taken where asked for, and no package is where none is wanted`, async (house) => {
      await house.setSource(await house.resolve('c++'));
      for (const { wanted, installed } of [
        { wanted: [], installed: [] },
        { wanted: ['hello-fan'], installed: ['hello-extra', 'hello-fan'] },
      ]) {
        await using opened = await house.open(who);
        await opened.apt.updateLists(quiet);
        const { plan } = await opened.apt.installPackages(wanted, { ...quiet, recommends: true });
        assert.equal([[...plan.install].sort(), plan.remove], [installed, []]);
      }
    });

    for (const [flaw, code, reason] of [
      ['unsigned', 'apt.signature', /signed/],
      ['wrong-signature', 'apt.signature', /ppa:project\/wrong-signature is not signed by the key/],
      ['wrong-hash', 'upstream.status', /out of step/],
      ['expired', 'apt.repository', /outside its time of validity/],
    ] as const) {
      test(`${who}: update fails for a PPA that is ${flaw}, and names it`, async (house) => {
        await using opened = await openWith(house, flaw);
        const sources = [await house.resolve(flaw)];
        const error = await failure(opened.apt.updateLists({ ...quiet, sources }));
        assert.is(error.code, code, error.message);
        assert.match(error.message, `ppa:project/${flaw}`);
        assert.match(error.message, reason);
        assert.not.match(error.message, house.chroot.directory);
      });
    }

    test(`${who}: update fails for a PPA that has no such series, and names both`, async (house) => {
      const source = await house.resolve('sound');
      await house.setSource(source, { series: 'warty' });
      await using opened = await house.open(who);
      const error = await failure(opened.apt.updateLists({ ...quiet, sources: [source] }));
      assert.is(error.code, 'ppa.series');
      assert.match(error.message, /ppa:project\/sound publishes nothing for "warty"/);
    });

    test(`${who}: update fails for a source of the image that is not there any more, and names it`, async (house) => {
      await house.setSource(null);
      const line = `deb ${house.launchpad.ppaUrl}/ubuntu warty main\n`;
      await writeFile(join(house.chroot.root, 'etc/apt/sources.list'), line);
      await using opened = await house.open(who);
      const error = await failure(opened.apt.updateLists(quiet));
      assert.is(error.code, 'apt.repository');
      assert.match(error.message, /own source http:\/\/127\.0\.0\.1:[0-9]+\/ubuntu for "warty" is not there/);
    });

    test(`${who}: update fails as an upstream failure where a server is out of order or absent`, async (house) => {
      await using opened = await openWith(house, 'sound');
      const options = { ...quiet, sources: [await house.resolve('sound')] };
      for (const status of [500, 503]) {
        house.launchpad.fault(/\/dists\//, { kind: 'status', status });
        const error = await failure(opened.apt.updateLists(options));
        house.launchpad.fault(/\/dists\//, null);
        assert.is(error.code, 'upstream.unreachable', error.message);
        assert.match(error.message, /ppa:project\/sound cannot be reached/);
      }
      const nobody = await failure(opened.apt.updateLists({ ...options, proxyUrl: 'http://127.0.0.1:9' }));
      assert.is(nobody.code, 'upstream.unreachable', nobody.message);
      await opened.apt.updateLists(options);
    });
  }

  test('both apts make the same of a system, report it, and leave nothing else in it', async (house) => {
    await using inside = await house.newChroot();
    await using outside = await house.newChroot();
    const chroots: Readonly<Record<WhoseApt, Chroot>> = { 'the image’s apt': inside, 'the worker’s apt': outside };
    const source = await house.resolve('c++');
    const configuration = `APT::Install-Recommends "true";\nAPT::Default-Release "${house.series}";\n`;
    for (const { root } of [inside, outside]) {
      await writeFile(join(root, 'etc/apt/apt.conf.d/99test'), configuration);
      await writeFile(join(root, 'etc/hello.conf'), 'old\n');
    }
    const before = await leftovers(inside);
    for (const { wanted, debian = false, recommends = false, pin = '', automatic = [], installed, removed = [] } of [
      {
        wanted: ['hello-two', 'hello-one=1:1.0+b~1-1', `jq/${house.series}`],
        debian: true,
        installed: ['hello-one', 'hello-two', 'jq', 'libjq1', 'libonig5'],
      },
      { wanted: ['hello-one'], pin: 'Package: hello-*\nPin: version 1:1.0*\nPin-Priority: 1001\n', installed: [] },
      // An automatic package that is upgraded for another stays automatic.
      {
        wanted: ['hello-two', 'wants-new-one'],
        automatic: ['hello-one'],
        recommends: true,
        installed: ['hello-one', 'wants-new-one'],
      },
      { wanted: ['hello-extra', 'foreign:i386'], installed: ['foreign', 'hello-extra'] },
      { wanted: ['hello-meta'], installed: ['hello-member', 'hello-meta'] },
      { wanted: ['hates-extra'], installed: ['early', 'hates-extra'], removed: ['hello-extra'] },
      // Only apt's note that it was asked for changes.
      { wanted: ['libonig5'], installed: [] },
    ]) {
      const outcomes = [];
      for (const who of both) {
        const chroot = chroots[who];
        if (debian) await addTwice(house, chroot);
        else await house.setSource(source, { chroot });
        if (wanted.includes('foreign:i386')) await exec('chroot', [chroot.root, 'dpkg', '--add-architecture', 'i386']);
        await writeFile(join(chroot.root, 'etc/apt/preferences.d/test'), pin);
        for (const name of automatic) {
          const options = ['APT::Default-Release=', 'Dir::Cache::pkgcache=', 'Dir::Cache::srcpkgcache='];
          await exec('chroot', [chroot.root, 'apt-mark', ...options.flatMap((each) => ['-o', each]), 'auto', name]);
        }
        const progress: AptProgress[] = [];
        const log: string[] = [];
        const options = {
          ...{ ...quiet, recommends, sources: [source] },
          onLog: (line: string) => log.push(line),
          onProgress: (step: AptProgress) => progress.push(step),
        };
        {
          await using opened = await house.open(who, { chroot });
          const { apt, caches, facts } = opened;
          await apt.updateLists(options);
          assert.ok(progress.length > 0 && progress.every(({ current, total }) => current <= total && total === 100));
          await caches.publish([source]);
          progress.length = 0;
          const { plan, packages } = await apt.installPackages(wanted, options);
          assert.equal([...plan.install].map((name) => name.replace(/:.*/, '')).sort(), installed);
          assert.equal(plan.remove, removed);
          const total = 2 * installed.length;
          assert.ok(progress.every((step) => step.total === total && step.current <= total));
          assert.equal(
            progress,
            [...progress].sort((a, b) => a.current - b.current),
            'progress goes back',
          );
          // Fetching packages from the worker's folder would hash them once more.
          assert.not.ok(log.some((line) => /^Get:\d+ file:/.test(line)));
          for (const name of installed) {
            assert.ok(progress.some(({ message }) => message.includes(name)));
            assert.ok(log.some((line) => line.startsWith(`Setting up ${name}`)));
          }
          const changes = comparePackages(facts.packages, packages, facts.architecture);
          assert.equal(changes.changed.map(({ name }) => name.replace(/:.*/, '')).sort(), installed);
          assert.equal(
            changes.removed.map(({ name }) => name),
            removed,
          );
          if (debian) assert.is(changes.changed.find(({ name }) => name === 'hello-one')?.version, '1:1.0+b~1-1');
          outcomes.push({ changes, packages, marks: await marks(chroot), tree: await tree(chroot) });
        }
        if (debian) await assertListsAreKept(house, who, chroot);
      }
      const [withNetwork, without] = outcomes;
      assert.equal(without?.changes, withNetwork?.changes, wanted.join(' '));
      assert.equal(without?.packages, withNetwork?.packages, wanted.join(' '));
      assert.equal(without?.marks, withNetwork?.marks, wanted.join(' '));
      const differing = (left: readonly string[] = [], right: readonly string[] = []) =>
        left.filter((line) => !right.includes(line));
      assert.equal(differing(without?.tree, withNetwork?.tree), differing(withNetwork?.tree, without?.tree));
    }
    for (const chroot of [inside, outside]) {
      assert.is(await readFile(join(chroot.root, 'etc/hello.conf'), 'utf8'), 'old\n', 'a changed conffile is not kept');
      assert.equal(await leftovers(chroot), before);
      assert.equal((await readdir(chroot.directory)).sort(), ['cache', 'root'], 'something is left on the worker');
    }
  });
}

function sourcesComeWithUpdates(test: Test<AptHouse>): void {
  test('sources that come in one go with an update are those that are added before it', async (house) => {
    const source = await house.resolve('c++');
    await house.setSource(source);
    const before = await filesOfSources(house.chroot);
    assert.is(before.length, 1);
    await house.setSource(null);
    await using opened = await house.open('the image’s apt');
    const added = sourceFiles(opened.facts, [source], house.series);
    await opened.apt.updateLists({ ...quiet, sources: [source], added });
    assert.equal(await filesOfSources(house.chroot), before);
    const { install } = await opened.apt.planInstallation(['hello-one'], quiet);
    assert.ok(install.some(({ name }) => name === 'hello-one'));
  });
}

/** Adds the PPA to the sources that the system has. The second time changes nothing. */
async function addTwice(house: AptHouse, chroot: Chroot): Promise<void> {
  const session = chroot.session();
  const facts = await readImageFacts(session);
  assertSeries(facts, house.series);
  assert.is((await failure(Promise.resolve().then(() => assertSeries(facts, 'trusty')))).code, 'image.series');
  const source = await house.resolve('c++');
  await addSources(session, facts, [source], house.series);
  const once = await filesOfSources(chroot);
  await addSources(session, facts, [source], house.series);
  assert.equal(await filesOfSources(chroot), once, 'adding the same source again changes something');
}

async function filesOfSources({ root }: Chroot) {
  const folder = join(root, 'etc/apt/sources.list.d');
  return await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const { mode, uid } = await stat(join(folder, name));
      return { name, mode: mode & 0o777, uid, text: await readFile(join(folder, name), 'utf8') };
    }),
  );
}

/** Another build of the same base fetches no list of the base's own sources again, and gets none of the PPA's. */
async function assertListsAreKept(house: AptHouse, who: WhoseApt, chroot: Chroot): Promise<void> {
  const published = await readdir(join(chroot.directory, 'cache/apt-lists', 'a'.repeat(64)));
  assert.ok(published.some((name) => name.endsWith('_Packages')));
  assert.not.ok(published.some((name) => name.includes('project')));
  const log: string[] = [];
  await using opened = await house.open(who, { chroot });
  const sources = [await house.resolve('c++')];
  await opened.apt.updateLists({ ...quiet, sources, onLog: (line) => log.push(line) });
  assert.not.ok(
    log.some((line) => /^Get:.*main amd64 Packages/.test(line) && !line.includes('/project/')),
    'lists that were published are fetched again',
  );
}

/** Places where apt, or the way to it, could leave something in the image. */
async function leftovers({ root }: Chroot) {
  const configuration = await exec('grep', ['-rlE', 'Acquire::|force-unsafe-io', join(root, 'etc/apt')], {
    okExitCodes: [0, 1],
  });
  const folders = ['var/lib/apt/lists', 'var/cache/apt', 'var/cache/apt/archives', 'run'];
  return {
    configuration: configuration.stdout.replaceAll(root, ''),
    folders: await Promise.all(folders.map(async (name) => await readdir(join(root, name)))),
  };
}

/** Every file that is neither a log nor a cache: type, mode, owner, size and target. */
async function tree({ root }: Chroot): Promise<string[]> {
  const left = ['*/var/log', '*/var/cache', '*/var/lib/apt/lists', '*/tmp'];
  const { stdout } = await exec('find', [
    ...[root, '(', ...left.flatMap((path) => ['-o', '-path', path]).slice(1), ')'],
    ...['-prune', '-o', '!', '-name', '*-old', '!', '-type', 'd', '-printf', '%P %y %m %U:%G %s %l\n'],
  ]);
  return stdout.trim().split('\n').sort();
}

const marks = async ({ root }: Chroot) =>
  (await readFile(join(root, 'var/lib/apt/extended_states'), 'utf8').catch(() => '')).split('\n\n').sort();
