import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { indexFolder } from '#lib/apt/caches.ts';
import type { PpaSource } from '#lib/apt/launchpad.ts';
import { failure } from '../../failure.ts';
import { type AptHouse, both, quiet } from './house.ts';

/** The index that apt makes of its lists is made once for all builds with the same ones. */
export function indexIsKept(test: Test<AptHouse>): void {
  for (const who of both) {
    test(`${who}: the index of an earlier build is used for the same lists, and for no others`, async (house) => {
      const [first, other] = [await house.resolve('c++'), await house.resolve('sound')];
      /** Updates the lists of this source, and plans with them; `key` are the PPAs by which the index is found. */
      const update = async (source: PpaSource, key: readonly PpaSource[], wanted: string) => {
        await house.setSource(source);
        await using opened = await house.open(who);
        const { apt, caches } = opened;
        const folder = join(caches.binds.find(({ target }) => target === '/var/cache/apt')?.source ?? '', indexFolder);
        const fileNumber = async () =>
          (await stat(join(folder, who === 'the image’s apt' ? 'pkgcache.bin' : 'srcpkgcache.bin'))).ino;
        const index = await caches.takeIndex(who === 'the image’s apt' ? 'inside' : 'outside', key);
        await apt.updateLists({ ...quiet, index });
        const isMade = (await readdir(folder)).includes('releases');
        await caches.publish(key);
        const before = await fileNumber();
        const plan = await apt.planInstallation([wanted], quiet).catch((error: unknown) => error);
        // apt replaces an index that it takes for stale.
        return { isMade, plan, isTaken: (await fileNumber()) === before };
      };
      const made = await update(first, [first], 'hello-one');
      assert.equal([made.isMade, made.isTaken], [true, true]);
      const again = await update(first, [first], 'hello-one');
      assert.equal([again.isMade, again.isTaken], [false, true]);
      assert.equal(again.plan, made.plan);
      assert.is((await update(first, [first, other], 'hello-one')).isMade, true, 'with another PPA');

      // Lists that have changed since.
      const changed = await update(other, [first], 'hello-one');
      assert.is(changed.isMade, true);
      assert.is((await failure(Promise.reject(changed.plan))).code, 'apt.package');
      const back = await update(first, [first], 'hello-one');
      assert.is(back.isMade, true);
      assert.equal(back.plan, made.plan);
    });
  }
}
