import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { reportAsked } from '#lib/apt/asked.ts';
import { comparePackages } from '#lib/apt/packages.ts';
import { exec } from '#lib/exec.ts';
import { failure } from '../../failure.ts';
import { type AptHouse, both, quiet } from './house.ts';

/** The reasons why a real apt does not install packages, as both apts give them. */
export function reasonsAreTrue(test: Test<AptHouse>): void {
  test('each kind of package that cannot be had has its own reason, and both apts give the same', async (house) => {
    await using chroot = await house.newChroot();
    const run = (...command: string[]) => exec('chroot', [chroot.root, ...command]);
    await house.setSource(await house.resolve('c++'), { chroot });
    {
      await using opened = await house.open('the image’s apt', { chroot });
      await opened.apt.updateLists(quiet);
      await opened.apt.installPackages(['hello-one=1:1.0+b~1-1'], quiet);
    }
    await run('apt-mark', 'hold', 'hello-one');
    const pin = 'Package: hello-suggested\nPin: version *\nPin-Priority: -1\n';
    await writeFile(join(chroot.root, 'etc/apt/preferences.d/away'), pin);
    const said: string[][] = [];
    for (const who of both) {
      await using opened = await house.open(who, { chroot });
      const { apt, facts } = opened;
      await apt.updateLists(quiet);
      const refused = async (...wanted: string[]) => {
        const error = await failure(apt.installPackages(wanted, quiet));
        assert.is(error.code, 'apt.package', error.message);
        return error.message;
      };
      const many = await refused(
        ...['hello-fan:armhf', 'foreign:i386', 'hello-fna', 'hello-extra+', 'hello-many', 'hello-suggested'],
        ...['hello-extra=9', 'hello-extra/sid', 'wants-new-one'],
      );
      assert.match(many, /hello-fan:armhf: the architecture armhf is not enabled in the image, which has amd64/);
      assert.match(many, /foreign:i386: the architecture i386 is not enabled/);
      assert.match(many, /hello-fna: no repository .* did you mean hello-fan\?/);
      assert.match(many, /hello-extra\+: no repository .*; ask for hello-extra, without "\+"/);
      assert.match(
        many,
        /hello-many: it is a virtual package; ask for one that provides it: (hello-fan, early|early, hello-fan)/,
      );
      assert.match(many, /hello-suggested: the pins of the base image .* as hello-suggested=1\.0-1/);
      assert.match(many, /hello-extra=9: there is no version 9; there is 1\.0-1 in \w+\/main/);
      assert.match(many, /hello-extra\/sid: the suite sid .*; there is 1\.0-1/);
      assert.match(many, /wants-new-one: .*hello-one is held in the base image at 1:1\.0\+b~1-1/);
      assert.match(many, new RegExp(`apt has looked in ${house.series} main`));
      const held = await refused('hello-one', 'hello-extra');
      assert.match(held, /hello-one: it is held in the base image at 1:1\.0\+b~1-1, .*apt-mark unhold hello-one/);
      assert.not.match(held, /hello-extra:/);
      const essential = await refused('hates-diff');
      assert.match(essential, /hates-diff: Conflicts: diffutils/);
      said.push([many, held, essential]);

      const { plan, packages } = await apt.installPackages(['hello-alone', 'bash'], quiet);
      const { changed } = comparePackages(facts.packages, packages, facts.architecture);
      const report = reportAsked(['hello-alone', 'bash'], { plan, packages, changed });
      assert.equal(report.warnings, [
        'hello-alone was asked for and is not installed under that name: apt took hello-meta, which alone provides it',
      ]);
      assert.match(report.notices.join(), /^bash stays as it was in the base image/);
      await run('dpkg', '--purge', 'hello-meta', 'hello-member');
    }
    assert.equal(said[1], said[0]);
  });
}
