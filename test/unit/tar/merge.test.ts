import { mkdir, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import type { RootEntry } from '#lib/tar/root-entry.ts';
import { failure } from '../../failure.ts';
import { type CraftedMember, craftMember, craftTar, marks } from '../../tar/craft.ts';
import { merge, startedSeconds } from '../../tar/merge.ts';
import { archiveOf, type Change, change, changedPaths, describeFile, type Tree } from '../../tar/random-trees.ts';
import { readFileAsRoot, readRoot } from '../../tar/read.ts';
import { temporaryFolder } from '../image/temporary.ts';
import { testWith } from '../with-programs.ts';

/** Changes laid over an archive of a root file system: everything else stays as it is, byte by byte. */

const file = (name: string, content: string, given: Partial<CraftedMember> = {}): CraftedMember => ({
  ...{ name, content, ...given },
});
const folder = (name: string): CraftedMember => ({ name, flag: '5' });
const symlink = (name: string, target: string): CraftedMember => ({ name, flag: '2', target });
const hardLink = (name: string, target: string): CraftedMember => ({ name, flag: '1', target });

/** `path type size target` of each member, in their order. */
async function namesOf(archive: Buffer): Promise<string[]> {
  const { entries } = await readRoot(archive);
  return [...entries].map(([path, { type, sizeBytes, target }]) => `${path} ${type} ${sizeBytes} ${target}`.trim());
}

test('changed members stand in their place, new ones at the end, and others stay byte by byte', async () => {
  const base = [folder('./'), file('./a', 'a'), file('./b', 'b'), file('./c', 'c', { records: { comment: 'kept' } })];
  const delta = craftTar(file('./b', 'changed'), file('./z', 'z'), folder('./new/'), file('./new/y', 'y'));
  const { bytes, plan } = await merge(craftTar(...base, file('./d', 'd')), delta, ['d']);
  assert.equal(await namesOf(bytes), [
    ...['directory 0', 'a file 1', 'b file 7', 'c file 1', 'new directory 0', 'new/y file 1', 'z file 1'],
  ]);
  for (const [index, member] of base.entries()) assert.is(bytes.includes(craftMember(member)), index !== 2);
  assert.equal([[...plan.replaced], [...plan.removed], [...plan.added]], [['b'], ['d'], ['new', 'new/y', 'z']]);
  assert.is(bytes.length % 10_240, 0);
});

test('members that only have another time stay as they are', async () => {
  const base = craftTar(folder('etc/'), file('etc/a', 'a'), file('etc/b', 'b'), hardLink('etc/c', 'etc/b'));
  const later = { modified: startedSeconds + 9 };
  const delta = craftTar(
    { ...folder('etc/'), ...later },
    file('etc/a', 'a', later),
    file('etc/c', 'b', later),
    hardLink('etc/b', 'etc/c'),
  );
  const { bytes, plan } = await merge(base, delta);
  assert.is(plan.replaced.size, 0);
  assert.ok(bytes.subarray(0, base.length).equals(base));
});

test('times of the build become that of the newest file that is older, so that two builds are the same', async () => {
  const base = craftTar(file('a', 'a'), file('b', 'b'));
  const built = async (modified: number) => {
    const delta = craftTar(file('a', 'A', { modified }), file('p', 'p', { modified: 1_710_000_000 }));
    return (await merge(base, delta)).bytes;
  };
  const first = await built(startedSeconds + 1);
  assert.ok(first.equals(await built(startedSeconds + 500)));
  const { entries } = await readRoot(first);
  assert.equal(
    [...entries.values()].map(({ modified }) => modified),
    [1_710_000_000, 1_700_000_000, 1_710_000_000],
  );
});

test('a hard link comes after its file, wherever its names stand', async () => {
  const base = craftTar(file('a', 'old'), hardLink('b', 'a'), file('c', 'c'));
  // The delta has the names in another order, and one more.
  const delta = craftTar(file('0-new', 'new'), hardLink('b', '0-new'), hardLink('a', '0-new'));
  const { bytes } = await merge(base, delta);
  assert.equal(await namesOf(bytes), ['a file 3', 'b link 0 a', 'c file 1', '0-new link 0 a']);
});

test('a file whose other name is replaced or gone keeps its content', async () => {
  const base = craftTar(file('a', 'shared'), hardLink('b', 'a'));
  const replaced = await merge(base, craftTar(file('a', 'new'), file('b', 'shared')));
  assert.equal(await namesOf(replaced.bytes), ['a file 3', 'b file 6']);
  const gone = await merge(base, craftTar(file('b', 'shared')), ['a']);
  assert.equal(await namesOf(gone.bytes), ['b file 6']);
});

test('a folder becomes a link, and a link a folder', async () => {
  const base = craftTar(folder('lib/'), file('lib/x', 'x'), symlink('bin', 'usr/bin'));
  const delta = craftTar(symlink('lib', 'usr/lib'), folder('bin/'), file('bin/sh', 'sh'));
  const { bytes } = await merge(base, delta, ['lib/x']);
  assert.equal(await namesOf(bytes), ['lib symlink 0 usr/lib', 'bin directory 0', 'bin/sh file 2']);
});

test('changes that contradict each other are refused', async () => {
  const base = craftTar(file('a', 'a'), hardLink('b', 'a'), folder('d/'), file('d/x', 'x'));
  const refused = async (delta: Buffer, gone: string[] = []) => {
    const { code, message } = await failure(merge(base, delta, gone));
    return `${code}: ${message}`;
  };
  assert.match(await refused(craftTar(file('a', 'A'))), /output: .*"b" is a hard link to "a", which has changed/);
  assert.match(await refused(craftTar(), ['a']), /output: .*"b" is a hard link to "a"/);
  assert.match(
    await refused(craftTar(file('a', 'A'), file('b', 'a')), ['a']),
    /output: .*"a" has changed, and is gone/,
  );
  assert.match(await refused(craftTar(), ['d']), /"d\/x" comes before its folder/);
  assert.match(await refused(craftTar(symlink('d', '/'))), /"d\/x" lies below "d", which is no folder/);
});

test('a base in the format of GNU tar gets members of that format, and says what they lose', async () => {
  const base = craftTar(file('./a', 'a', { mark: marks.gnu }));
  const long = `./${'n'.repeat(120)}`;
  const delta = craftTar(
    file('./a', 'A', { records: { 'SCHILY.xattr.user.a': 'x' } }),
    file('./x', 'x', { uid: 0, records: { path: long, uid: '3000000' } }),
    symlink('./l', 'short'),
  );
  const { bytes, plan } = await merge(base, delta);
  assert.equal(plan.stripped, ['a']);
  const { form, entries } = await readRoot(bytes);
  assert.is(form, 'gnu');
  assert.is(entries.get('n'.repeat(120))?.uid, 3_000_000);
});

test('a base in ustar gets long names in the two fields of ustar', async () => {
  const parts = ['a'.repeat(90), 'b'.repeat(90)];
  const base = craftTar(folder(`${parts[0]}/`));
  const { bytes } = await merge(base, craftTar(file('x', 'x', { records: { path: parts.join('/') } })));
  const { form, entries } = await readRoot(bytes);
  assert.is(form, 'ustar');
  assert.ok(entries.has(parts.join('/')));
});

/** How archives name their members: those above the root file system, the prefix, and the end of the names of folders. */
const namings: readonly (readonly [above: readonly string[], prefix: string, slash: string])[] = [
  [[], '', '/'],
  [['./'], '', '/'],
  [[], './', '/'],
  [[], './', ''],
  [[], 'system/', '/'],
  [[], 'system/', ''],
  [[], './system/', '/'],
  [['./'], './system/', '/'],
  [['.'], './system/', ''],
];

for (const [above, prefix, slash] of namings) {
  test(`names as ${[...above, `${prefix}usr${slash}`].join(' ')} stay so, in changed members and in new ones`, async () => {
    const root = prefix === '' ? [] : [slash === '' ? prefix.slice(0, -1) : prefix];
    const folders = ['usr', 'usr/old', 'etc'].map((name) => folder(`${prefix}${name}${slash}`));
    const base = [
      ...[...above, ...root].map(folder),
      ...folders,
      file(`${prefix}etc/a`, 'a'),
      file(`${prefix}usr/b`, 'b'),
      hardLink(`${prefix}usr/c`, `${prefix}usr/b`),
      file(`${prefix}usr/old/x`, 'x'),
    ];
    const delta = craftTar(
      { ...folder('./'), mode: 0o700 },
      { ...folder('./usr/'), mode: 0o700 },
      file('./usr/c', 'B'),
      hardLink('./usr/b', './usr/c'),
      folder('./opt/'),
      hardLink('./opt/d', './usr/c'),
    );
    const { bytes, plan } = await merge(craftTar(...base), delta, ['usr/old', 'usr/old/x']);
    const { above: first, entries } = await readRoot(bytes);
    const members = [...(first === null ? [] : [first]), ...entries.values()];
    assert.equal(
      members.map(({ name, type, target }) => (type === 'link' ? `${name} is ${target}` : name)),
      [
        ...[...above, ...root, `${prefix}usr${slash}`, `${prefix}etc${slash}`, `${prefix}etc/a`, `${prefix}usr/b`],
        ...[`${prefix}usr/c is usr/b`, `${prefix}opt${slash}`, `${prefix}opt/d is usr/b`],
      ],
    );
    const listed = await exec('tar', ['-tf', '-'], { input: bytes });
    assert.is(listed.stdout.trim().split('\n').length, members.length);
    const [changedRoot] = root.length > 0 ? root : above;
    assert.equal([...plan.replaced], [...(changedRoot === undefined ? [] : ['']), 'usr', 'usr/b', 'usr/c']);
    for (const name of [`${prefix}etc${slash}`, ...(root.length > 0 ? above : [])]) {
      assert.ok(bytes.includes(craftMember(folder(name))), name);
    }
  });
}

test('the prefix of a system-image server is in all names and targets', async () => {
  const base = craftTar(folder('system/'), file('system/a', 'a'), hardLink('system/b', 'system/a'));
  const delta = craftTar(file('./a', 'A'), hardLink('./b', './a'), hardLink('./c', './a'));
  const { bytes } = await merge(base, delta);
  const { stdout } = await exec('tar', ['-tvf', '-'], { input: bytes });
  assert.equal(
    [...stdout.matchAll(/system.*/g)].map(([line]) => line),
    ['system/', 'system/a', 'system/b link to system/a', 'system/c link to system/a'],
  );
});

test('a result that is not what was planned is refused', async () => {
  const [a, b, c] = [file('a', 'a'), file('b', 'b'), file('c', 'c')].map(craftMember) as [Buffer, Buffer, Buffer];
  const zeros = Buffer.alloc(1024);
  const changed = craftTar(file('b', 'B'));
  const refused = async (...members: Buffer[]) => {
    const damaged = Buffer.concat([...members, zeros]);
    const error = await failure(merge(Buffer.concat([a, b, c, zeros]), changed, [], () => damaged));
    return `${error.code}: ${error.message}`;
  };
  const good = craftMember(file('b', 'B'));
  assert.match(await refused(a, b, c), /output: "b" of the new archive has another content/);
  assert.match(await refused(craftMember(file('a', 'x')), good, c), /output: "a" of the new archive has changed/);
  assert.match(await refused(craftMember(file('a', 'a', { uid: 1 })), good, c), /output: "a" .* has changed/);
  assert.match(await refused(a, craftMember(file('b', 'B', { mode: 0o4755 })), c), /output: "b" .* is another file/);
  assert.match(await refused(good, a, c), /output: "b" of the new archive is not where it should be/);
  assert.match(await refused(a, good), /output: the new archive lacks a member of the base/);
  assert.match(await refused(a, good, c, craftMember(file('d', 'd'))), /output: "d" .* is not where it should be/);
  assert.match(await refused(a, good, craftMember(hardLink('c', 'b'))), /output: .*/);
});

/** Members in order, their contents by name, as system-image servers take a root file system apart. */
const consumer = `
import io, sys, tarfile
source = tarfile.open(sys.argv[1], 'r:')
with tarfile.open(sys.argv[2], 'w', format=tarfile.GNU_FORMAT) as target:
    for member in source:
        data = source.extractfile(member.name) if member.isfile() else None
        member.name = 'system/' + member.name
        if member.islnk(): member.linkname = 'system/' + member.linkname
        target.addfile(member, data)
`;

testWith('python3')('a reader that takes contents by their names makes the same tree of a merged archive', async () => {
  await using temporary = await temporaryFolder();
  const base = craftTar(folder('a/'), file('a/x', 'x'.repeat(600)), hardLink('a/y', 'a/x'), file('b', 'b'));
  const { bytes } = await merge(base, craftTar(file('a/y', 'new'), hardLink('a/x', 'a/y'), file('c', 'c')));
  await writeFile(temporary.file('in'), bytes);
  await exec('python3', ['-c', consumer, temporary.file('in'), temporary.file('out')]);
  const { prefix, form, entries } = await readFileAsRoot(temporary.file('out'));
  assert.equal([prefix, form], ['system/', 'gnu']);
  assert.equal(
    [...entries].map(([path, { type, sizeBytes, target }]) => `${path} ${type} ${sizeBytes} ${target}`.trim()),
    await namesOf(bytes),
  );
});

async function describeArchive(archive: Buffer): Promise<Record<string, string>> {
  const { entries } = await readRoot(archive);
  const fileOf = (path: string): RootEntry | undefined => {
    const entry = entries.get(path);
    return entry?.type === 'link' ? entries.get(entry.target) : entry;
  };
  const described = [...entries.keys()]
    .filter((path) => path !== '')
    .map((path): [string, string] => {
      const entry = fileOf(path) ?? assert.unreachable();
      const { type, mode, uid, target, attributes, contentAt, sizeBytes } = entry as RootEntry;
      const name = Buffer.from(path, 'latin1').toString();
      if (type === 'symlink') return [name, `symlink ${target}`];
      if (type !== 'file') return [name, type];
      const content = archive.toString('latin1', contentAt, contentAt + sizeBytes);
      const names = [...entries.keys()].filter((other) => fileOf(other) === entry);
      const utf8 = names.map((other) => Buffer.from(other, 'latin1').toString()).sort();
      return [name, `file ${content} ${mode} ${uid} ${attributes.get('SCHILY.xattr.user.a') ?? ''} ${utf8}`];
    });
  return Object.fromEntries(described);
}

function describeTree(tree: Tree, withAttributes: boolean): Record<string, string> {
  return Object.fromEntries([...tree.files.keys()].map((path) => [path, describeFile(tree, path, withAttributes)]));
}

async function mergeChange(given: Change, form: 'pax' | 'gnu', prefix: string): Promise<Buffer> {
  const { before, after } = given;
  const base = archiveOf(before, [...before.files.keys()], { prefix, form, modified: 1_700_000_000 });
  const built = { prefix: './', form: 'pax', modified: startedSeconds + 5 } as const;
  const delta = archiveOf(after, changedPaths(given).toReversed().sort(), built);
  const gone = [...before.files.keys()].filter((path) => !after.files.has(path));
  const { bytes } = await merge(
    base,
    delta,
    gone.map((path) => Buffer.from(path).toString('latin1')),
  );
  return bytes;
}

for (const form of ['pax', 'gnu'] as const) {
  test(`random changes of random trees end in the tree after them (${form})`, async () => {
    await fc.assert(
      fc.asyncProperty(change, fc.constantFrom('', './', 'system/'), async (given, prefix) => {
        fc.pre(given.before.files.size > 0);
        const expected = describeTree(given.after, form === 'pax');
        // GNU's format has no attributes.
        assert.equal(await describeArchive(await mergeChange(given, form, prefix)), expected);
      }),
    );
  });
}

const unpackers: Readonly<Record<string, readonly string[]>> = {
  tar: ['tar', '-xpf'],
  bsdtar: ['bsdtar', '-xpf'],
  busybox: ['busybox', 'tar', '-xpf'],
};

for (const [name, [program = '', ...args]] of Object.entries(unpackers)) {
  testWith(program)(`${name} unpacks a merged archive as the tree after the changes`, async () => {
    await using temporary = await temporaryFolder();
    for (const [index, given] of fc.sample(change, { numRuns: 6, seed: 7 }).entries()) {
      if (given.before.files.size === 0) continue;
      const { after } = given;
      const archives = {
        merged: await mergeChange(given, 'pax', './'),
        wanted: archiveOf(after, [...after.files.keys()], { prefix: './', form: 'pax', modified: 1_700_000_000 }),
      };
      const trees = await Promise.all(
        Object.entries(archives).map(async ([which, bytes]) => {
          const path = temporary.file(`${which}-${index}`);
          await mkdir(path);
          await writeFile(`${path}.tar`, bytes);
          await exec(program, [...args, `${path}.tar`, '-C', path]);
          const listing = "find . -printf '%P %y %m %U %s %n %l\\n' | sed '/ d /s/ [0-9]* [0-9]* $//' | sort";
          const contents = 'find . -type f -exec cat {} +';
          return (await exec('sh', ['-c', `cd "$1" && ${listing} && ${contents} | sha256sum`, 'sh', path])).stdout;
        }),
      );
      assert.is(trees[0], trees[1]);
    }
  });
}

test.run();
