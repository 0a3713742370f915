import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { readImageFacts } from '#lib/apt/facts.ts';
import { holdPackages } from '#lib/apt/hold.ts';
import { prepareApt } from '#lib/apt/prepare.ts';
import { exec } from '#lib/exec.ts';
import { failure } from '../../failure.ts';
import { type AptHouse, oneForBoth, quiet } from './house.ts';

/** The further wishes of a request: answers for debconf, architectures, downgrades and holds. */
export function requestsAreHonoured(test: Test<AptHouse>): void {
  for (const who of oneForBoth) {
    test(`${who}: questions are answered, architectures enabled, older versions taken where allowed, packages held, in a minimised image`, async (house) => {
      await using chroot = await house.newChroot();
      // A minimised image: apt and dpkg do without these folders and files, or make them.
      const removed = [
        'etc/apt/preferences.d',
        'etc/apt/apt.conf.d',
        'etc/apt/keyrings',
        'var/lib/dpkg/available',
        'var/log',
      ];
      for (const path of removed) await rm(join(chroot.root, path), { recursive: true, force: true });
      await house.setSource(await house.resolve('c++'), { chroot });
      await mkdir(join(chroot.root, 'etc/apt/apt.conf.d'));
      const hooks = join(chroot.root, 'etc/apt/apt.conf.d/99-hardened');
      const remounts = `DPkg {
  Pre-Invoke { "mount -o remount,exec /nowhere"; "echo a \\"quoted\\" word"; "/bin/mount -o remount,rw /nowhere"; };
  Post-Invoke { "mount -o remount,noexec,nosuid /nowhere || true"; };
  Pre-Install-Pkgs { "/usr/sbin/dpkg-preconfigure --apt || true"; "cat >>/hook-was-handed"; };
};
`;
      await writeFile(hooks, remounts);
      const session = chroot.session();
      const before = await readImageFacts(session);
      const value = ' the “moon” \\ is $HOME';
      const facts = await prepareApt(session, before, {
        foreignArchitectures: ['i386', 'amd64', 'i386'],
        selections: [{ owner: 'hello-asks', question: 'hello-asks/answer', type: 'password', value }],
      });
      assert.equal(facts.foreignArchitectures, ['i386']);
      const log: string[] = [];
      const install = async (wanted: readonly string[], allowDowngrades = false) => {
        await using opened = await house.open(who, { chroot });
        await opened.apt.updateLists(quiet);
        return await opened.apt.installPackages(wanted, {
          ...quiet,
          allowDowngrades,
          onLog: (line) => log.push(line),
        });
      };
      const own = join(chroot.root, 'etc/apt/apt.conf.d/10-own');
      await writeFile(own, 'APT { Architectures { "amd64"; }; };\n');
      const alone = await failure(install(['foreign:i386']));
      assert.is(alone.code, 'apt.package', 'an image whose apt.conf names architectures has no other');
      await rm(own);
      const { plan } = await install(['hello-asks', 'foreign:i386', 'hello-one']);
      assert.equal([...plan.install].sort(), ['foreign:i386', 'hello-asks', 'hello-one']);
      assert.is(await readFile(join(chroot.root, 'etc/hello-answer'), 'utf8'), `${value}\n`);

      const handed = await readFile(join(chroot.root, 'hook-was-handed'), 'utf8');
      assert.match(handed, /hello-asks_.*\.deb$/m, 'a hook beside that of debconf runs');
      assert.not.match(log.join('\n'), /delaying package configuration|Preconfiguring/);

      const older = ['hello-one=1:1.0+b~1-1'];
      const refused = await failure(install(older));
      assert.is(refused.code, 'apt.package', refused.message);
      assert.match(
        refused.message,
        /hello-one=1:1\.0\+b~1-1: it is installed at 1:1\.1-1, which is newer; "allow_downgrades"/,
      );
      const { packages } = await install(older, true);
      assert.is(packages.find(({ name }) => name === 'hello-one')?.version, '1:1.0+b~1-1');

      await writeFile(hooks, `${remounts}DPkg::Post-Invoke { "/usr/bin/no-such-thing"; };\n`);
      const hooked = await failure(install(['hello-extra']));
      assert.is(hooked.code, 'apt.install');
      assert.match(
        hooked.message,
        /hook of the base image has failed: '\/usr\/bin\/no-such-thing', which \/etc\/apt\/apt\.conf\.d\/99-hardened sets as DPkg::Post-Invoke/,
      );
      await holdPackages(session, ['hello-one', 'foreign:i386']);
      const held = await exec('chroot', [chroot.root, 'apt-mark', 'showhold']);
      assert.equal(held.stdout.trim().split('\n').sort(), ['foreign:i386', 'hello-one']);
    });
  }
}
