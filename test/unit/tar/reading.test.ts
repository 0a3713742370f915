import { link, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import type { RootEntry } from '#lib/tar/root-entry.ts';
import { sumOf } from '#lib/tar-sum.ts';
import { type CraftedMember, craftTar, marks } from '../../tar/craft.ts';
import { readFileAsRoot, readRoot } from '../../tar/read.ts';
import { temporaryFolder, withFile } from '../image/temporary.ts';
import { testWith } from '../with-programs.ts';

/** Archives of root file systems: everything that a file has is read, whichever program wrote it. */

const longPart = 'long-'.repeat(24);

/** A folder with everything that an unprivileged user can make. */
async function makeTree(path: string): Promise<void> {
  await mkdir(join(path, 'usr', longPart, longPart), { recursive: true });
  await writeFile(join(path, 'usr', longPart, longPart, 'deep'), 'deep');
  await writeFile(join(path, 'usr/with space and ü'), 'x'.repeat(513));
  await writeFile(join(path, 'usr/empty'), '');
  await writeFile(Buffer.concat([Buffer.from(join(path, 'usr/')), Buffer.from([0xff, 0xfe])]), 'not UTF-8');
  await writeFile(join(path, 'usr/setuid'), '', { mode: 0o4755 });
  await link(join(path, 'usr/empty'), join(path, 'usr/link to empty'));
  await link(join(path, 'usr', longPart, longPart, 'deep'), join(path, 'usr/link to deep'));
  await symlink(`../${longPart}/${'x'.repeat(100)}`, join(path, 'usr/symbolic'));
}

const latin1 = (text: string) => Buffer.from(text).toString('latin1');
const summary = (entries: ReadonlyMap<string, RootEntry>) =>
  [...entries]
    .map(([path, { type, sizeBytes, uid, target }]) => `${path} ${type} ${sizeBytes} ${uid} ${target}`)
    .sort();

const tools: Readonly<Record<string, readonly string[]>> = {
  'GNU tar, pax': ['tar', '--format=pax'],
  'GNU tar, its own format': ['tar', '--format=gnu'],
  'bsdtar, pax': ['bsdtar', '--format=pax'],
  'bsdtar, GNU format': ['bsdtar', '--format=gnutar'],
};

for (const [name, [program = '', format = '']] of Object.entries(tools)) {
  testWith(program)(`${name}: all files are read, whatever their names`, async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.file('root'));
    await makeTree(folder.file('root'));
    const owners = program === 'tar' ? ['--owner=:3000000', '--group=:5'] : ['--uid=3000000', '--gid=5'];
    await exec(program, [
      '-C',
      folder.file('root'),
      format,
      '--numeric-owner',
      ...owners,
      '-cf',
      folder.file('a'),
      '.',
    ]);
    const { prefix, form, entries, contentBytes } = await readFileAsRoot(folder.file('a'));
    assert.is(prefix, './');
    assert.is(form, format.includes('pax') ? 'pax' : 'gnu');
    assert.is(contentBytes, 4 + 513 + 9);
    for (const pair of [
      [`usr/${longPart}/${longPart}/deep`, 'usr/link to deep'],
      ['usr/empty', 'usr/link to empty'],
    ]) {
      const [one, other] = pair.map((path) => entries.get(path));
      assert.is([one, other].filter((entry) => entry?.type === 'link').length, 1);
      assert.is(one?.type === 'link' ? one.target : other?.target, one?.type === 'link' ? pair[1] : pair[0]);
    }
    assert.is(entries.get('usr/\xff\xfe')?.sizeBytes, 9);
    assert.is(entries.get(latin1('usr/with space and ü'))?.uid, 3_000_000);
    assert.is(entries.get('usr/setuid')?.mode, 0o4755);
    assert.is(entries.get('usr/symbolic')?.target, `../${longPart}/${'x'.repeat(100)}`);
    assert.is(entries.size, 12);
  });
}

test('the prefix is that of all names', async () => {
  const prefixOf = async (...names: string[]) => {
    const members = names.map((name): CraftedMember => ({ name, flag: name.endsWith('/') ? '5' : '0' }));
    const { prefix, entries } = await readRoot(craftTar(...members));
    return `${prefix}: ${[...entries.keys()].join()}`;
  };
  assert.is(await prefixOf('./', './bin/', './bin/sh'), './: ,bin,bin/sh');
  assert.is(await prefixOf('bin/', 'bin/sh'), ': bin,bin/sh');
  assert.is(await prefixOf('bin/', 'system/', 'system/x'), ': bin,system,system/x');
  assert.is(await prefixOf('system/', 'system/bin/', 'system/bin/sh'), 'system/: ,bin,bin/sh');
  assert.is(await prefixOf('system/bin/', 'system/bin/sh'), 'system/: bin,bin/sh');
  assert.is(await prefixOf('system/', 'system/./bin/', 'system/./bin/sh'), 'system/./: ,bin,bin/sh');
  assert.is(await prefixOf('./system/', './system/bin/', './system/bin/sh'), './system/: ,bin,bin/sh');
  assert.is(await prefixOf('./', './system/', './system/bin/', './system/bin/sh'), './system/: ,bin,bin/sh');
  assert.is(await prefixOf('./', './system/bin/', './system/bin/sh'), './system/: bin,bin/sh');
  assert.is(await prefixOf('./', './system/', './bin/', './bin/sh'), './: ,system,bin,bin/sh');
  // GNU tar names the root so where it is told to take `/`.
  assert.is(await prefixOf('./', 'bin/', 'bin/sh'), ': ,bin,bin/sh');
  assert.is(await prefixOf('./'), './: ');
});

test('an archive of changes has the names of the root file system, even where all lie in its folder `system`', async () => {
  const archive = craftTar({ name: './system/x' });
  const { prefix, entries } = await readRoot(archive, { scope: 'changes' });
  assert.equal([prefix, ...entries.keys()], ['./', 'system/x']);
});

test('times before 1970, and folders of version 7, which a slash at the end of the name makes, are read', async () => {
  const { entries } = await readRoot(
    craftTar(
      { name: 'd/', flag: '\0', mark: marks.v7, mode: 0o755 },
      { name: 'd/binary', bytes: [[136, Buffer.concat([Buffer.alloc(10, 0xff), Buffer.from('f000', 'hex')])]] },
      { name: 'd/extended', records: { mtime: '-3600.5' } },
    ),
  );
  assert.equal(
    [...entries.values()].map(({ type, modified }) => `${type} ${modified}`),
    ['directory 1700000000', 'file -4096', 'file -3600.5'],
  );
});

testWith('tar')(
  'archives of version 7 and of ustar, with times before 1970 as GNU tar writes them, are read',
  async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.file('root/usr/share'), { recursive: true });
    await writeFile(folder.file('root/usr/old'), 'old');
    await exec('touch', ['--date=@-7200', folder.file('root/usr/old')]);
    for (const [format, modified] of [
      ['v7', null],
      ['ustar', null],
      ['gnu', -7200],
      ['pax', -7200],
    ] as const) {
      const options = modified === null ? ['--mtime=@1000'] : [];
      await exec('tar', ['-C', folder.file('root'), `--format=${format}`, ...options, '-cf', folder.file('a'), 'usr']);
      const { entries } = await readFileAsRoot(folder.file('a'));
      assert.equal([...entries.keys()].sort(), ['usr', 'usr/old', 'usr/share'], format);
      assert.is(entries.get('usr/share')?.type, 'directory', format);
      assert.is(entries.get('usr/old')?.modified, modified ?? 1000, format);
    }
  },
);

test('devices, attributes, ACLs, times and links of an archive with a prefix are kept', async () => {
  const capability = Buffer.concat([Buffer.from([1, 0, 0, 2]), Buffer.alloc(16, 1)]);
  const { entries, form } = await readRoot(
    craftTar(
      { name: 'system/', flag: '5', mode: 0o1777 },
      { name: 'system/dev/', flag: '5' },
      { name: 'system/dev/null', flag: '3', device: [1, 3] },
      {
        name: 'system/ping',
        content: 'ping',
        records: {
          'SCHILY.xattr.security.capability': capability,
          'LIBARCHIVE.xattr.security.capability': capability.toString('base64').replaceAll('=', ''),
          'SCHILY.acl.access': 'user::rwx,group::r-x,other::r-x,user:7:rwx:7,mask::rwx',
          'SCHILY.xattr.user.a': '',
          mtime: '1700000001.25',
          comment: 'x',
        },
      },
      { name: 'system/link', flag: '1', target: 'system/ping' },
      { name: 'system/pipe', flag: '6', uid: 7 },
    ),
  );
  assert.is(form, 'pax');
  assert.equal(summary(entries), [
    ' directory 0 0 ',
    'dev directory 0 0 ',
    'dev/null character 0 0 ',
    'link link 0 0 ping',
    'ping file 4 0 ',
    'pipe fifo 0 7 ',
  ]);
  assert.is(entries.get('')?.mode, 0o1777);
  assert.equal([entries.get('dev/null')?.major, entries.get('dev/null')?.minor], [1, 3]);
  const ping = entries.get('ping') ?? assert.unreachable();
  assert.is((ping as RootEntry).modified, 1_700_000_001.25);
  assert.equal(
    [...(ping as RootEntry).attributes.keys()],
    ['SCHILY.xattr.security.capability', 'SCHILY.xattr.user.a', 'SCHILY.xattr.system.posix_acl_access'],
  );
});

const sample: readonly CraftedMember[] = [
  { name: 'etc/', flag: '5' },
  { name: 'etc/a', content: 'a'.repeat(600), uid: 7 },
  { name: 'etc/b', content: 'b', records: { path: 'etc/long', mtime: '1700000000.5' } },
  { name: 'etc/c', flag: '2', target: 'a' },
  { name: 'etc/d', flag: '1', target: 'etc/a', uid: 7 },
];

/** The lines of `tar -tv` for the same entries, names in octal escapes. */
function asListed(entries: ReadonlyMap<string, RootEntry>): string[] {
  return [...entries].map(([path, entry]) => {
    const target =
      entry.type === 'symlink' ? ` -> ${entry.target}` : entry.type === 'link' ? ` link to ${entry.target}` : '';
    const size =
      entry.type === 'character' || entry.type === 'block' ? `${entry.major},${entry.minor}` : entry.sizeBytes;
    return `${entry.uid}/${entry.gid} ${size} ${path}${target}`;
  });
}

async function listByGnuTar(path: string): Promise<string[]> {
  const args = ['-tvf', path, '--numeric-owner', '--quoting-style=literal', '--utc', '--full-time'];
  const { stdout } = await exec('tar', args);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, owner = '', size = '', , , ...name] = line.split(/ +/);
      const text = name.join(' ');
      return `${owner} ${size} ${line.startsWith('d') ? text.replace(/\/$/, '') : text}`;
    });
}

for (const mark of ['ustar', 'gnu'] as const) {
  test(`changed bytes of an archive (${mark}) end in an error of ours, or in what GNU tar lists`, async () => {
    const members = sample.map((member) => (member.records === undefined ? { ...member, mark: marks[mark] } : member));
    const archive = craftTar(...members);
    const headers = Array.from({ length: archive.length / 512 }, (_, index) => index * 512).filter(
      (at) => archive.toString('latin1', at + 257, at + 262) === 'ustar',
    );
    const places = fc.tuple(
      fc.constantFrom(...headers),
      fc.nat(511),
      fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from(' /.01789xLKgS\0'))),
    );
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(places, async ([header, at, byte]) => {
        const copy = Buffer.from(archive);
        copy[header + at] = byte;
        const block = copy.subarray(header, header + 512);
        // With a right checksum: otherwise no other check would be tried.
        block.write(`${sumOf(block).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
        const entries = await readRoot(copy).then(
          (root) => root.entries,
          (error: unknown) => {
            if (!(error instanceof ImageBuilderError) || error.code === 'internal') throw error;
            return null;
          },
        );
        if (entries === null || [...entries.keys()].some((path) => /[^ -~]/.test(path))) return;
        accepted += 1;
        assert.equal(asListed(entries), await withFile(copy, listByGnuTar));
      }),
      { numRuns: 150 },
    );
    assert.ok(accepted > 5, `${accepted} are accepted`);
  });
}

test('an archive is read the same with anything of zeros behind its end', async () => {
  const archive = craftTar(...sample);
  const long = await readRoot(Buffer.concat([archive, Buffer.alloc(200_000 + 7)]));
  assert.equal(summary(long.entries), summary((await readRoot(archive)).entries));
});

testWith('busybox')("busybox's archives are read", async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.file('root'));
  await makeTree(folder.file('root'));
  await exec('busybox', ['tar', '-C', folder.file('root'), '-cf', folder.file('a'), 'usr']);
  const { entries, prefix } = await readFileAsRoot(folder.file('a'));
  assert.is(prefix, '');
  assert.is(entries.size, 11);
});

test.run();
