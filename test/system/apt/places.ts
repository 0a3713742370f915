import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { describeRepositories } from '#lib/apt/repositories/describe.ts';
import type { Repository } from '#lib/apt/repositories/repository.ts';
import { listen } from '../../../lab/servers/listen.ts';
import { failure } from '../../failure.ts';
import { unprivilegedIds } from '../unprivileged.ts';
import { type AptHouse, both, never, quiet, type WhoseApt } from './house.ts';

/** The repositories that an apt knows after an update, as the provenance describes them. */
async function repositoriesOf(house: AptHouse, who: WhoseApt): Promise<readonly Repository[]> {
  await using opened = await house.open(who);
  await opened.apt.updateLists(quiet);
  const options = { workDirectory: house.chroot.directory, unprivilegedIds, signal: never };
  const files = await opened.apt.readRepositories();
  const { repositories, notKnown } = await describeRepositories(files, opened.facts.architecture, options);
  assert.is(notKnown, null);
  return repositories;
}

/** The places that sources of an image name: lists of mirrors, folders, discs, flat and unsigned repositories. */
export function placesAreReached(test: Test<AptHouse>): void {
  for (const who of both) {
    test(`${who}: sources are read from lists of mirrors and flat folders, and a missing disc is left out`, async (house) => {
      await using places = await openPlaces(house);
      const { source, url } = places;
      const key = '[signed-by=/etc/apt/keyrings/test.gpg]';
      const mirrors = `# a comment\nfile:/nowhere\npriority:1\n${url}/nowhere\tpriority:1 arch:amd64\n${source.url}\tpriority:2\n`;
      const { series } = house;
      for (const { file, text, wanted, warnings } of [
        {
          file: 'test.list',
          text: `deb cdrom:[Debian GNU/Linux 12.0.0 _Bookworm_ - DVD]/ bookworm main\ndeb ${key} mirror+file:/etc/apt/mirrors/test.list ${series} main\n`,
          wanted: ['hello-extra'],
          warnings: [
            /cdrom:.*\[Debian GNU\/Linux 12\.0\.0 _Bookworm_ - DVD\].* is left out: it is a CD that is not there/,
          ],
        },
        {
          file: 'test.sources',
          text: `Types: deb\nURIs: mirror+${url}/mirrors\nSuites: ${series}\nComponents: main\nSigned-By: /etc/apt/keyrings/test.gpg\n`,
          wanted: ['hello-suggested'],
          warnings: [],
        },
        {
          file: 'test.list',
          text: `deb [trusted=yes] ${url}/flat ./\n`,
          wanted: ['hello-extra'],
          warnings: [new RegExp(`${url}/flat for "\\./" is used without a signature`)],
        },
      ]) {
        await house.setSource(null);
        await places.write('etc/apt/keyrings/test.gpg', source.key.binary);
        await places.write('etc/apt/mirrors/test.list', mirrors);
        await places.write(`etc/apt/sources.list.d/${file}`, text);
        const said: string[] = [];
        const log: string[] = [];
        await using opened = await house.open(who);
        const options = {
          ...{ ...quiet },
          onWarning: (message: string) => said.push(message),
          onLog: (line: string) => log.push(line),
        };
        await opened.apt.updateLists(options);
        assert.is(said.length, warnings.length, said.join('\n'));
        for (const [index, words] of warnings.entries()) assert.match(said[index] ?? '', words);
        const { plan } = await opened.apt.installPackages(wanted, options);
        assert.equal(plan.install, wanted);
        assert.not.match(log.join('\n'), '/proc/self');
      }
    });

    test(`${who}: a source that builds have no way to is called what it is`, async (house) => {
      await using places = await openPlaces(house);
      for (const [text, code, words] of [
        ['deb s3://bucket/x stable main\n', 'apt.repository', /is read with "s3", for which builds have no way/],
        ['deb tor+http://x.example.org/debian stable main\n', 'apt.repository', /is read with "tor\+http", for which/],
        ['deb ssh://x.example.org/x stable main\n', 'apt.repository', /is read with "ssh", for which/],
        ['deb ftp://x.example.org/x stable main\n', 'apt.repository', /is read with "ftp", for which/],
        [
          'deb file:/srv/x ./\n',
          'apt.repository',
          /image itself \(file:\/srv\/x\)|file:\/\/\/srv\/x.*the image has no such folder/,
        ],
        [
          'deb mirror+file:/etc/apt/mirrors/none.list stable main\n',
          'apt.repository',
          /\/etc\/apt\/mirrors\/none\.list/,
        ],
        [
          `deb [allow-insecure=yes] ${places.url}/flat ./\n`,
          'apt.repository',
          /\/flat for "\.\/" is not there, or has no Release file; .*trusted=yes/,
        ],
      ] as const) {
        await house.setSource(null);
        await places.write('etc/apt/sources.list', text);
        const update = async () => {
          await using opened = await house.open(who);
          await opened.apt.updateLists(quiet);
        };
        const error = await failure(update());
        assert.is(error.code, code, error.message);
        assert.match(error.message, words);
        assert.not.match(error.message, /moves to another server|\/proc\/self/);
      }
    });
  }

  test('both apts know the same Release files and their signers, wherever a source has these and its keys', async (house) => {
    await using places = await openPlaces(house);
    const { source, url } = places;
    const { fingerprint } = source.key;
    const { series } = house;
    await house.setSource(source);
    const { key: stranger } = await house.resolve('tools');
    await places.write('etc/apt/keyrings/test.gpg', source.key.binary);
    await places.write('etc/apt/keyrings/test.asc', `${stranger.armored}\n${source.key.armored}`);
    await places.write('etc/apt/trusted.gpg.d/test.gpg', source.key.binary);
    await places.write('etc/apt/mirrors/test.list', `${source.url}\n`);
    const lines = [
      `deb [signed-by=/etc/apt/keyrings/test.asc] mirror+file:/etc/apt/mirrors/test.list ${series} main`,
      `deb [signed-by=/etc/apt/keyrings/test.gpg] mirror+${url}/mirrors ${series} main`,
      `deb [signed-by=${fingerprint}] ${url.replace('http://', 'http://me:secret@')}/detached/ ${series} main`,
      `deb [trusted=yes] ${url}/flat ./`,
    ];
    await places.write('etc/apt/sources.list', `${lines.join('\n')}\n`);
    await places.write(
      'etc/apt/sources.list.d/other.sources',
      `Types: deb\nURIs: ${url}/other\nSuites: ${series}\nComponents: main\n`,
    );
    const inside = await repositoriesOf(house, 'the image’s apt');
    assert.equal(await repositoriesOf(house, 'the worker’s apt'), inside);
    const digest = async (file: string) => {
      const content = await (await fetch(`${source.url}/dists/${series}/${file}`)).arrayBuffer();
      return createHash('sha256').update(Buffer.from(content)).digest('hex');
    };
    const whole = await digest('InRelease');
    const dist = `dists/${series}`;
    const signers = [{ fingerprint, subkey: null }];
    assert.equal(
      inside.map(({ uri, file, ...found }) => [uri, file?.url.slice(uri.length + 1), file?.sha256, found.signers]),
      [
        ['mirror+file:/etc/apt/mirrors/test.list', `${dist}/InRelease`, whole, signers],
        [`mirror+${url}/mirrors`, `${dist}/InRelease`, whole, signers],
        [`${url}/detached`, `${dist}/Release`, await digest('Release'), signers],
        [`${url}/flat`, undefined, undefined, []],
        [`${url}/other`, `${dist}/InRelease`, whole, signers],
        [source.url, `${dist}/InRelease`, whole, signers],
      ],
    );
    assert.equal(
      inside.map(({ notKnown }) => notKnown.length),
      [0, 0, 0, 1, 0, 0],
    );
    assert.match(inside[0]?.file?.date ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });
}

/** A server with a list of mirrors and a flat, unsigned repository, and a way to put files into the system. */
async function openPlaces(house: AptHouse) {
  const source = await house.resolve('c++');
  const read = async (path: string) => {
    const response = await fetch(`${source.url}/${path}`);
    if (!response.ok) throw new Error(`there is no ${path}`);
    return Buffer.from(await response.arrayBuffer());
  };
  const index = (await read(`dists/${house.series}/main/binary-amd64/Packages`)).toString();
  const stanza = index.split('\n\n').find((text) => text.startsWith('Package: hello-extra\n')) ?? '';
  const archive = /^Filename: (.*)$/m.exec(stanza)?.[1] ?? '';
  const files = new Map<string, Buffer>([
    ['/mirrors', Buffer.from(`${source.url}\n`)],
    ['/flat/Packages', Buffer.from(`${stanza.replace(/^Filename: .*$/m, 'Filename: ./hello-extra.deb').trim()}\n`)],
    ['/flat/hello-extra.deb', await read(archive)],
  ]);
  // `/other` is the PPA again, and so is `/detached`, without InRelease.
  const answer = async (path: string): Promise<Buffer | undefined> => {
    const [, place, rest = ''] = /^\/(other|detached)\/(.*)$/.exec(path) ?? [];
    if (place === undefined) return files.get(path);
    return place === 'detached' && rest.endsWith('/InRelease') ? undefined : await read(rest).catch(() => undefined);
  };
  const server = createServer(async (request, response) => {
    const found = await answer(new URL(request.url ?? '/', 'http://localhost').pathname.replace('/./', '/'));
    response.writeHead(found === undefined ? 404 : 200).end(found);
  });
  const { url, ...listening } = await listen(server, { port: 0 });
  return {
    source,
    url,
    async write(path: string, content: string | Uint8Array) {
      const place = join(house.chroot.root, path);
      await mkdir(dirname(place), { recursive: true });
      await writeFile(place, content);
    },
    [Symbol.asyncDispose]: () => listening[Symbol.asyncDispose](),
  };
}
