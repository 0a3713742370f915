import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { updateSourceSizes } from '#lib/medium/install-sources.ts';
import { updateManifest, updateSize } from '#lib/medium/lists.ts';

test('a manifest gets new, changed and removed packages, and every other line stays', () => {
  const before =
    'adduser\t3.134\nlibc6:amd64\t2.36-9\nodd line  here\nnano\t7.2-1\nsnap:firefox\tlatest/stable\t1234\nxz-utils:amd64\t1:1.2\n';
  const after = updateManifest(before, [
    { name: 'libc6:amd64', version: '2.36-10' },
    { name: 'nano', version: null },
    { name: 'nginx', version: '1.22' },
    { name: 'zsh', version: '1' },
    { name: 'absent', version: null },
  ]);
  assert.is(
    after,
    'adduser\t3.134\nlibc6:amd64\t2.36-10\nnginx\t1.22\nodd line  here\nsnap:firefox\tlatest/stable\t1234\nxz-utils:amd64\t1:1.2\nzsh\t1\n',
  );
  assert.is(updateManifest(before, []), before);
  assert.is(updateManifest('a 1\nc 2', [{ name: 'b', version: '3' }]), 'a 1\nb 3\nc 2');
  assert.is(updateManifest('', [{ name: 'b', version: '3' }]), 'b\t3\n');
});

test('a size file gets the bytes that were added, and nothing but a number is touched', () => {
  assert.is(updateSize('1000\n', 234), '1234\n');
  assert.is(updateSize(' 1000', -2000), ' 0');
  assert.is(updateSize('about 1000\n', 1), null);
});

const sources = `# made by livecd-rootfs
kernel:
  default: linux-generic   # a comment
sources:
- default: true
  id: ubuntu-server
  path:   minimal.standard.squashfs
  size:   1000  # bytes
  variations:
    default: {path: minimal.standard.squashfs, size: 1000}
    "core-boot": { size: 0x10, path: minimal.secure.squashfs }
    inherits: {size: 1000}
- {id: other, size: 1000, path: minimal.squashfs}
version: 2
`;

test('sizes of sources and variations change, and every other byte of the catalogue stays', () => {
  const changed = updateSourceSizes(sources, (path, size) => (path === 'minimal.standard.squashfs' ? size + 5 : size));
  assert.is(
    changed,
    sources
      .replace('size:   1000', 'size:   1005')
      .replace('standard.squashfs, size: 1000', 'standard.squashfs, size: 1005')
      .replace('inherits: {size: 1000}', 'inherits: {size: 1005}'),
  );
  assert.is(
    updateSourceSizes(sources, (_, size) => size),
    sources,
  );
  const versionOne = '- id: a\n  path: b.squashfs\n  size: 7';
  assert.is(
    updateSourceSizes(versionOne, (_, size) => size * 100),
    versionOne.replace('7', '700'),
  );
});

test.run();
