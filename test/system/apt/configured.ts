import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import { failure } from '../../failure.ts';
import { temporaryFolder, testClient } from '../../unit/fetch/with-server.ts';
import { type AptHouse, never, oneForBoth, quiet } from './house.ts';

/** Options that people have set for machines of theirs, and that would keep a build from installing. */
const configuration = `
APT::Get::Download-Only "true";
APT::Get::Download "false";
APT::Get::Only-Upgrade "true";
APT::Get::Print-URIs "true";
APT::Get::Simulate "true";
APT::Get::Trivial-Only "true";
APT::Get::Assume-No "true";
APT::Get::Show-Versions "true";
APT::Color "true";
DPkg::Progress-Fancy "true";
quiet "2";
Acquire::ForceIPv6 "true";
Acquire::http::Dl-Limit "1";
Acquire::http::Proxy { "127.0.0.1" "DIRECT"; proxy.example "http://proxy.example:3128"; };
`;

/** The image's apt.conf decides how apt chooses, and not whether it installs. */
export function configurationIsHarmless(test: Test<AptHouse>): void {
  for (const who of oneForBoth) {
    test(`${who}: an apt.conf by which apt-get would not install, or not reach the proxy, keeps no build from it`, async (house) => {
      await using chroot = await house.newChroot();
      await using folder = await temporaryFolder();
      await using client = testClient();
      const cache = await createAptCache({ client, cacheDirectory: folder.path, cacheBytes: 100_000_000 });
      await using proxy = await startAptProxy({ client, cache, signal: never });
      const options = { ...quiet, proxyUrl: proxy.url, proxyFailures: () => proxy.failures };
      await house.setSource(await house.resolve('c++'), { chroot });
      await writeFile(join(chroot.root, 'etc/apt/apt.conf.d/99own'), configuration);
      await using opened = await house.open(who, { chroot });
      await opened.apt.updateLists(options);
      const { plan, packages } = await opened.apt.installPackages(['hello-extra'], options);
      assert.equal(plan.install, ['hello-extra']);
      assert.ok(packages.some(({ name, state }) => name === 'hello-extra' && state === 'installed'));
    });

    test(`${who}: a configuration or source of the image that its own apt refuses is called by its name`, async (house) => {
      await using chroot = await house.newChroot();
      const source = await house.resolve('c++');
      const refused = async (path: string, text: string) => {
        const place = join(chroot.root, 'etc/apt', path);
        await writeFile(place, text);
        const attempt = async () => {
          await using opened = await house.open(who, { chroot });
          const options = { ...quiet, sources: [source] };
          await opened.apt.updateLists(options);
          await opened.apt.installPackages(['hello-extra'], options);
        };
        const error = await failure(attempt());
        await rm(place);
        assert.is(error.fault, 'request', error.message);
        return error.message;
      };
      await house.setSource(source, { chroot });
      const other = await refused('apt.conf.d/99own', 'APT::Default-Release "warty";\n');
      assert.match(other, /prefers the release "warty" \(APT::Default-Release\), and the image has no source of it/);
      const broken = await refused('apt.conf.d/99own', 'APT::Install-Recommends "0"\n');
      assert.match(broken, /Syntax error \/etc\/apt\/apt\.conf\.d\/99own/);
      const own = `deb [signed-by=/etc/apt/keyrings/own.gpg] ${source.url} ${house.series} main\n`;
      const twice = await refused('sources.list', own);
      assert.match(twice, /^ppa:project\/c\+\+ cannot be used: the base image has a source of its own for it/);
    });
  }
}
