import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { TreeMember } from '#lib/ext4/member.ts';
import { plantTree } from '#lib/ext4/tree.ts';
import { asMembers } from '../../squashfs/as-ext4.ts';
import { spec } from '../../squashfs/files.ts';

function member(path: string, type: TreeMember['type'] = 'file', given: Partial<TreeMember> = {}): TreeMember {
  const [made] = asMembers(new Map([[path, spec('file')]])).members;
  assert.ok(made !== undefined);
  return { ...made, type, ...given };
}

const refused: readonly (readonly [title: string, code: string, members: readonly TreeMember[]])[] = [
  ['a file below a file', 'image.corrupt', [member('a'), member('a/b')]],
  ['a folder below a link', 'image.corrupt', [member('a', 'symlink', { target: 'b' }), member('a/b', 'directory')]],
  ['a name twice', 'image.corrupt', [member('a'), member('a', 'fifo')]],
  ['a folder in the place of a file', 'image.corrupt', [member('a'), member('a', 'directory')]],
  ['a file in the place of the root', 'image.corrupt', [member('')]],
  ['a part of a name that leads up', 'image.corrupt', [member('a/../b')]],
  ['an empty part of a name', 'image.corrupt', [member('a//b')]],
  ['a hard link to nothing', 'image.corrupt', [member('a', 'link', { target: 'b' })]],
  ['a hard link to a folder', 'image.corrupt', [member('b', 'directory'), member('a', 'link', { target: 'b' })]],
  ['a hard link to a later file', 'image.corrupt', [member('a', 'link', { target: 'b' }), member('b')]],
  ['a long part of a name', 'image.unsupported', [member('x'.repeat(256))]],
  ['a long target', 'image.unsupported', [member('a', 'symlink', { target: 'x'.repeat(4096) })]],
  ['no target', 'image.unsupported', [member('a', 'symlink')]],
  ['a device number of 13 bits', 'image.unsupported', [member('a', 'block', { major: 4096 })]],
  [
    'a file of too many names',
    'image.unsupported',
    [member('a'), ...Array.from({ length: 65_000 }, (_, index) => member(`b${index}`, 'link', { target: 'a' }))],
  ],
];

for (const [title, code, members] of refused) {
  test(`refused: ${title}`, () => {
    assert.throws(
      () => plantTree(members),
      (error: { code?: string }) => error.code === code,
    );
  });
}

test('folders without a member of their own belong to root, until they have one', () => {
  const { root, nodes } = plantTree([member('a/b/c'), member('a', 'directory', { uid: 5, mode: 0o700 })]);
  assert.equal(
    nodes.map(({ member: { path, uid, mode } }) => [path, uid, mode]),
    [
      ['', 0, 0o755],
      ['a', 5, 0o700],
      ['a/b', 0, 0o755],
      ['a/b/c', 0, 0o644],
    ],
  );
  assert.is(root.links, 3);
});

test('a tree of one long path takes no time', () => {
  const deep = 'x/'.repeat(2000);
  const begun = performance.now();
  plantTree(Array.from({ length: 2000 }, (_, index) => member(`${deep}${index}`)));
  assert.ok(performance.now() - begun < 5000);
});

test.run();
