import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { readPackages } from '#lib/apt/packages.ts';
import { failure } from '../../failure.ts';
import { type AptHouse, both, quiet } from './house.ts';

/** The changes of an installation, said before they are made. */
export function plansAreTrue(test: Test<AptHouse>): void {
  for (const who of both) {
    test(`${who}: a plan names the packages and bytes of an installation, and changes nothing`, async (house) => {
      await using chroot = await house.newChroot();
      await house.setSource(await house.resolve('c++'), { chroot });
      const withApt = async <Value>(work: (opened: Awaited<ReturnType<typeof house.open>>) => Promise<Value>) => {
        await using opened = await house.open(who, { chroot });
        await opened.apt.updateLists(quiet);
        return await work(opened);
      };
      await withApt(({ apt }) => apt.installPackages(['hello-one=1:1.0+b~1-1', 'hello-extra'], quiet));
      await withApt(async ({ apt, session, facts }) => {
        const wanted = ['hates-extra', 'foreign:amd64', 'wants-new-one'];
        const refused = await failure(apt.planInstallation(wanted, quiet));
        assert.is(refused.code, 'apt.package', refused.message);
        assert.match(refused.message, /foreign:amd64/);

        const seen: string[][] = [];
        const onPlan = (plan: { readonly install: readonly string[] }) => seen.push([...plan.install]);
        const plan = await apt.planInstallation(['hates-extra', 'wants-new-one'], { ...quiet, onPlan });
        const architecture = 'all';
        const fresh = { architecture, version: '1.0', previous_version: null };
        const byName = [...plan.install].sort((one, other) => (one.name < other.name ? -1 : 1));
        assert.equal(
          byName.map((each) => ({ ...each, version: each.name === 'hello-one' ? each.version : '1.0' })),
          [
            { name: 'early', ...fresh },
            { name: 'hates-extra', ...fresh },
            { name: 'hello-one', architecture, version: '1:1.1-1', previous_version: '1:1.0+b~1-1' },
            { name: 'wants-new-one', ...fresh },
          ],
        );
        assert.equal(
          plan.remove.map(({ name }) => name),
          ['hello-extra'],
        );
        assert.is(plan.download.packages, 4);
        assert.ok(plan.download.bytes > 1_000 && plan.download.bytes < 20_000, String(plan.download.bytes));
        assert.equal(
          seen.map((names) => [...names].sort()),
          [['early', 'hates-extra', 'hello-one', 'wants-new-one']],
        );
        assert.equal((await readPackages(session)).packages, facts.packages, 'nothing was installed');

        const installed = await apt.installPackages(['hates-extra', 'wants-new-one'], quiet);
        for (const { name, version } of plan.install)
          assert.is(installed.packages.find((each) => each.name === name)?.version, version, name);
      });
      await withApt(async ({ apt }) => {
        const nothing = { install: [], remove: [], download: { packages: 0, bytes: 0 } };
        assert.equal(await apt.planInstallation(['hello-one'], quiet), nothing, 'it is there already');
        assert.equal(await apt.planInstallation([], quiet), nothing);
      });
    });
  }

  test('the image’s apt: without a cache of the lists, as images made from containers have none, it plans the same', async (house) => {
    await using chroot = await house.newChroot();
    await house.setSource(await house.resolve('c++'), { chroot });
    await using opened = await house.open('the image’s apt', { chroot });
    const { apt } = opened;
    await apt.updateLists(quiet);
    const root = join(chroot.directory, 'root');
    const plan = () => apt.planInstallation(['hello-extra', 'wants-new-one'], quiet);
    const cached = await plan();
    assert.ok(cached.download.packages > 1);
    await writeFile(
      join(root, 'etc/apt/apt.conf.d/docker-clean'),
      'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n',
    );
    for (const name of ['pkgcache.bin', 'srcpkgcache.bin'])
      await rm(join(root, 'var/cache/apt', name), { force: true });
    assert.equal(await plan(), cached);
    const { downloads } = (await apt.installPackages(['hello-extra'], quiet)).plan;
    assert.ok(downloads.length > 0);
    for (const { places } of downloads) assert.is(places.length, 1);
    const left = await readdir(join(root, 'var/cache/apt'));
    assert.equal(
      left.filter((name) => name.endsWith('.bin')),
      [],
    );
    assert.equal(await readdir(join(root, 'tmp')), []);
  });
}
