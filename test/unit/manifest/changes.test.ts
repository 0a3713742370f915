import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { InstalledPackage } from '#lib/apt/packages.ts';
import { ChangesDocument, describeChanges } from '#lib/manifest/changes.ts';
import { toVisibleJson } from '#lib/manifest/touched.ts';
import { holds } from '../holds.ts';

const pkg = (name: string, version: string, architecture = 'amd64'): InstalledPackage => ({
  ...{ name, version, architecture },
  state: 'installed',
});

function describe(
  before: readonly InstalledPackage[],
  after: readonly InstalledPackage[],
  wanted: readonly string[] = [],
  instead: ReadonlyMap<string, string> = new Map(),
): ChangesDocument['packages'] {
  const document = describeChanges({ before, after, architecture: 'amd64', wanted, instead, touched: null });
  assert.equal(ChangesDocument.parse(JSON.parse(JSON.stringify(document))), document);
  return document.packages;
}

test('packages are added, removed or changed, each with its architecture and versions', () => {
  const before = [pkg('libc6', '2.36'), pkg('old', '1', 'all'), pkg('same', '1')];
  const after = [pkg('new', '1'), pkg('libc6', '2.37'), pkg('libc6', '2.37', 'i386'), pkg('same', '1')];
  assert.equal(describe(before, after, ['new']), {
    before: 3,
    after: 4,
    added: [
      { name: 'libc6', architecture: 'i386', version: '2.37', asked: false },
      { name: 'new', architecture: 'amd64', version: '1', asked: true },
    ],
    removed: [{ name: 'old', architecture: 'all', version: '1' }],
    changed: [{ name: 'libc6', architecture: 'amd64', version: '2.37', asked: false, previous_version: '2.36' }],
  });
});

test('a package is asked for by its name, version, suite or architecture, and by a name that it alone provides', () => {
  const after = [
    pkg('a', '1'),
    pkg('b', '1'),
    pkg('c', '1', 'i386'),
    pkg('c', '1'),
    pkg('d', '1', 'all'),
    pkg('e', '1'),
  ];
  const wanted = ['a=1', 'b/bookworm', 'c:i386', 'd:any', 'virtual'];
  const { added } = describe([], after, wanted, new Map([['virtual', 'e']]));
  assert.equal(
    added.filter(({ asked }) => !asked),
    [{ name: 'c', architecture: 'amd64', version: '1', asked: false }],
  );
});

test('a package that becomes one of no particular architecture has changed, and is not gone', () => {
  const { added, removed, changed } = describe([pkg('a', '1', 'all')], [pkg('a', '2')]);
  assert.equal([added.length, removed.length, changed[0]?.previous_version], [0, 0, '1']);
});

test('touched files are in the order of their bytes, and other bytes than UTF-8 are shown and kept', () => {
  const file = (path: Uint8Array) => ({ path, type: 'file', mode: '4755', sizeBytes: 7 }) as const;
  const link = { path: Buffer.from('/a'), type: 'link', mode: '777', sizeBytes: 0 } as const;
  const files = [file(Buffer.from('/\xe4', 'latin1')), file(Buffer.from('/\ufffd')), link];
  const nothing = { before: [], after: [], architecture: 'amd64', wanted: [], instead: new Map() };
  const document = describeChanges({ ...nothing, touched: { isComplete: true, files } });
  const shown = { path: '/\ufffd', type: 'file', mode: '4755', size: 7 };
  assert.equal(ChangesDocument.parse(document).files, {
    complete: true,
    touched: [{ path: '/a', type: 'link' }, { ...shown, path_base64: 'L+Q=' }, shown],
  });
  const { files: unknown, files_unknown } = describeChanges({ ...nothing, touched: null });
  assert.is(unknown, null);
  assert.match(files_unknown ?? '', /need GNU find/);
});

test('JSON shows no character that controls a terminal or the direction of text, and keeps its meaning', () => {
  const value = { path: 'ü \u001b[1m \u009b \u202e \u{e0041} \\u202e \n' };
  const text = toVisibleJson(value);
  assert.is(text, '{\n  "path": "ü \\u001b[1m \\u009b \\u202e \\udb40\\udc41 \\\\u202e \\n"\n}\n');
  assert.equal(JSON.parse(text), value);
});

test('applied to the packages of the base, the differences give those of the image', () => {
  const packages = fc
    .uniqueArray(
      fc.record({
        name: fc.constantFrom('a', 'a-b', 'a+', 'constructor', '__proto__', 'z'),
        version: fc.constantFrom('1', '2', '1:1~'),
        architecture: fc.constantFrom('amd64', 'i386', 'all'),
      }),
      { selector: ({ name, architecture }) => `${name} ${architecture === 'i386'}` },
    )
    .map((list) => list.map(({ name, version, architecture }) => pkg(name, version, architecture)));
  holds(
    fc.property(packages, packages, (before, after) => {
      const { added, removed, changed } = describe(before, after);
      const key = ({ name, architecture }: Pick<InstalledPackage, 'name' | 'architecture'>) =>
        `${name}:${architecture === 'i386'}`;
      const applied = new Map(before.map((entry) => [key(entry), entry.version]));
      for (const entry of removed) assert.ok(applied.delete(key(entry)));
      for (const entry of changed) {
        assert.is(applied.get(key(entry)), entry.previous_version);
        applied.set(key(entry), entry.version);
      }
      for (const entry of added) {
        assert.not.ok(applied.has(key(entry)));
        applied.set(key(entry), entry.version);
      }
      assert.equal([...applied].sort(), after.map((entry) => [key(entry), entry.version]).sort());
    }),
  );
});

test.run();
