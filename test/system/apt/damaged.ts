import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { failure } from '../../failure.ts';
import type { Chroot } from './chroot.ts';
import { type AptHouse, oneForBoth, quiet, type WhoseApt } from './house.ts';

/** A base image of which something is not as its apt wants it, with the words of the error. */
interface Damage {
  readonly what: string;
  /** Files that it has, by their paths without the first slash. `URL` stands for that of the PPA. */
  readonly files: Readonly<Record<string, string>>;
  readonly wanted?: string;
  readonly code: string;
  readonly words: readonly (string | RegExp)[];
}

const pin = (name: string) => `Package: ${name}\nPin: version *\nPin-Priority: -1\n`;
const mark = '\uFEFF';

const damages: readonly Damage[] = [
  {
    what: 'pins that keep apt from a package',
    files: {
      'etc/apt/preferences.d/other': pin('hello-two'),
      'etc/apt/preferences.d/away': pin('hello-one hello-extra'),
    },
    code: 'apt.package',
    words: [/hello-extra: the pins of the base image \(\/etc\/apt\/preferences\.d\/away\) keep apt from/],
  },
  {
    what: 'pins that keep apt from every package',
    files: { 'etc/apt/preferences': 'Package: *\nPin: release *\nPin-Priority: -1\n' },
    code: 'apt.package',
    words: ['the pins of the base image (/etc/apt/preferences) keep apt from'],
  },
  {
    what: 'pins without a package',
    files: { 'etc/apt/preferences.d/damaged': 'Pin: version *\nPin-Priority: 1\n' },
    code: 'apt.repository',
    words: ['/etc/apt/preferences.d/damaged', 'mend that file in the base image'],
  },
  {
    what: 'a pin without a priority, which apt does not name',
    files: { 'etc/apt/preferences.d/a': 'Package: a\nPin: version *\n', 'etc/apt/preferences.d/b': pin('b') },
    code: 'apt.repository',
    words: ['one of its own files (/etc/apt/preferences.d/a):'],
  },
  {
    what: 'a damaged list of automatic packages',
    files: { 'var/lib/apt/extended_states': 'nothing of it\n' },
    code: 'apt.repository',
    words: ['/var/lib/apt/extended_states'],
  },
  {
    what: 'a source of the PPA with another key',
    files: { 'etc/apt/sources.list.d/own.list': 'deb [signed-by=/etc/apt/keyrings/own.gpg] URL SERIES main\n' },
    code: 'apt.repository',
    words: [
      /^ppa:project\/c\+\+ cannot be used: the base image has a source of its own for it/,
      'take that source out of /etc/apt/sources.list.d/own.list there',
      '/etc/apt/keyrings/own.gpg != a key in the source itself',
    ],
  },
  {
    what: 'two sources with different keys',
    files: {
      'etc/apt/sources.list.d/one.list': 'deb [signed-by=/etc/apt/keyrings/one.gpg] http://127.0.0.1:9/x y main\n',
      'etc/apt/sources.list.d/two.list': 'deb [signed-by=/etc/apt/keyrings/two.gpg] http://127.0.0.1:9/x y main\n',
    },
    code: 'apt.repository',
    words: ['/etc/apt/sources.list.d/one.list, /etc/apt/sources.list.d/two.list', '/etc/apt/keyrings/one.gpg !='],
  },
  {
    what: 'a byte order mark before its sources',
    files: { 'etc/apt/sources.list.d/own.list': `${mark}# by an editor\n` },
    code: 'apt.repository',
    words: ['/etc/apt/sources.list.d/own.list'],
  },
  {
    what: 'an unknown option of dpkg',
    files: { 'etc/dpkg/dpkg.cfg.d/own': 'no-such-option\n' },
    code: 'image.corrupt',
    words: ['dpkg in the base image fails', '/etc/dpkg/dpkg.cfg.d/own'],
  },
  {
    what: 'a right of a user that is not there',
    files: { 'var/lib/dpkg/statoverride': 'nobody-has-this root 755 /opt/x\n' },
    code: 'apt.install',
    words: ['files in /var/lib/dpkg and /etc/dpkg, fails: unknown system user'],
  },
];

/** Folders that an image may have set for its own apt, and that are of no use to a build. */
const moved = `
Dir::Cache "/srv/cache";
Dir::Cache::archives "/srv/archives";
Dir::Cache::pkgcache "/srv/pkgcache.bin";
Dir::Cache::srcpkgcache "/srv/srcpkgcache.bin";
Dir::State::lists "/srv/lists";
DPkg::Run-Directory "/srv/run";
APT::Cache-Limit "1000";
`;

/** Whatever is wrong with a base image, its users read which file of it that is, by its own path, and what to do. */
export function damageIsNamed(test: Test<AptHouse>): void {
  for (const who of oneForBoth) {
    test(`${who}: an error about a file of the image has its path in the image, and advice`, async (house) => {
      await using chroot = await house.newChroot();
      const source = await house.resolve('c++');
      await house.setSource(source, { chroot });
      for (const { what, files, wanted = 'hello-extra', code, words } of damages) {
        const put = Object.entries(files).map(
          ([path, text]) =>
            [join(chroot.root, path), text.replace('URL', source.url).replace('SERIES', house.series)] as const,
        );
        for (const [path, text] of put) {
          await mkdir(dirname(path), { recursive: true });
          await writeFile(path, text);
        }
        const error = await failure(install(house, who, chroot, wanted));
        for (const [path] of put) await rm(path);
        assert.is(error.code, code, `${what}: ${error.message}`);
        for (const part of words) assert.match(error.message, part, what);
        assert.not.match(error.message, /BEGIN PGP|0000\.|apt-outside|apt-chroot/);
      }
    });
  }
}

/** Whatever folders an image has set for its apt: the build works, or says what it cannot use. */
export function foldersMayBeElsewhere(test: Test<AptHouse>): void {
  for (const who of oneForBoth) {
    test(`${who}: folders of apt that the image has moved are not used, and its log is where the image has it`, async (house) => {
      await using chroot = await house.newChroot();
      const { root } = chroot;
      await house.setSource(await house.resolve('c++'), { chroot });
      await writeFile(join(root, 'etc/apt/apt.conf.d/99own'), moved);
      await rename(join(root, 'var/log'), join(root, 'var/former-log'));
      await symlink('/run/log', join(root, 'var/log'));
      await install(house, who, chroot, 'hello-extra');
      assert.equal(await readdir(join(root, 'srv')), []);
      assert.ok((await readdir(join(root, 'run/log/apt'))).includes('history.log'));
      await writeFile(join(root, 'etc/apt/apt.conf.d/99own'), 'Dir::Log "/srv/log";\n');
      await install(house, who, chroot, 'hello-fan');
      assert.equal(await readdir(join(root, 'srv')), ['log']);
      await writeFile(join(root, 'srv/file'), '');
      await writeFile(join(root, 'etc/apt/apt.conf.d/99own'), 'Dir::Log "/srv/file";\n');
      const error = await failure(install(house, who, chroot, 'early'));
      assert.match(error.message, /has no folder for its log: \/srv\/file\/ cannot be made/);
    });
  }

  test('a PPA is refused where apt of the image reads sources from another folder, with the file that says so', async (house) => {
    await using chroot = await house.newChroot();
    const file = join(chroot.root, 'etc/apt/apt.conf.d/99own');
    const source = await house.resolve('c++');
    for (const [text, folder] of [
      ['Dir::Etc::sourceparts "/opt/sources";', '/opt/sources/'],
      ['Dir { Etc { sourceparts "-"; }; };', '/etc/apt/-/'],
      ['Dir::Etc::sourceparts "/dev/null";', '/dev/null'],
    ] as const) {
      await writeFile(file, `${text}\n`);
      const error = await failure(house.setSource(source, { chroot }));
      assert.is(error.code, 'apt.repository');
      assert.match(error.message, `but from ${folder}`);
      assert.match(error.message, 'by Dir::Etc::sourceparts of /etc/apt/apt.conf.d/99own;');
    }
    await writeFile(file, 'Dir::Etc::sourceparts "sources.list.d";\n');
    await house.setSource(source, { chroot });
  });
}

/** Updates the lists and installs one package. */
async function install(house: AptHouse, who: WhoseApt, chroot: Chroot, wanted: string): Promise<void> {
  const options = { ...quiet, sources: [await house.resolve('c++')] };
  await using opened = await house.open(who, { chroot });
  await opened.apt.updateLists(options);
  await opened.apt.installPackages([wanted], options);
}
