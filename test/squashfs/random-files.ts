import fc from 'fast-check';
import { type FileSpec, type Files, spec } from './files.ts';

/** Random layers of few names, so that they meet each other often. */

const names = ['a', 'b', 'c', 'é'];
const path = fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
const kinds = ['directory', 'opaque', 'file', 'link', 'symlink', 'whiteout', 'fifo', 'device'] as const;
const entry = fc.record({
  path,
  kind: fc.constantFrom(...kinds, 'directory' as const, 'file' as const),
  mode: fc.constantFrom(0o644, 0o755, 0o4711),
  uid: fc.constantFrom(0, 1000, 65_534, 4_000_000_000),
  gid: fc.constantFrom(0, 5),
  modifiedSeconds: fc.constantFrom(0, 1_700_000_000),
  size: fc.constantFrom(0, 1, 4095, 4096, 10_000, 70_000),
  byte: fc.nat(3),
  attribute: fc.option(fc.constantFrom('user.a', 'trusted.b'), { nil: undefined }),
});

export const randomFiles: fc.Arbitrary<Files> = fc.array(entry, { maxLength: 25 }).map((entries) => {
  const files = new Map<string, FileSpec>();
  /** The file that further links are links to. */
  let linked: FileSpec | null = null;
  for (const { path, kind, size, byte, attribute, ...common } of entries) {
    const parts = path.split('/');
    const parents = parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'));
    if (files.has(path) || parents.some((parent) => (files.get(parent)?.type ?? 'directory') !== 'directory')) continue;
    for (const parent of parents) if (!files.has(parent)) files.set(parent, spec('directory'));
    const attributes = attribute === undefined ? {} : { [attribute]: Buffer.alloc(12, byte) };
    const content = Buffer.alloc(size, byte === 0 ? 0 : `${byte} some text`);
    if (kind === 'directory') files.set(path, spec('directory', { ...common, attributes }));
    if (kind === 'opaque') {
      const mark = { 'trusted.overlay.opaque': Buffer.from('y') };
      files.set(path, spec('directory', { ...common, attributes: { ...attributes, ...mark } }));
    }
    if (kind === 'file') files.set(path, spec('file', { ...common, attributes, content }));
    if (kind === 'link') {
      linked ??= spec('file', { ...common, attributes, content, inode: 'linked' });
      files.set(path, linked);
    }
    if (kind === 'symlink') files.set(path, spec('symlink', { ...common, mode: 0o777, target: `../${byte}` }));
    if (kind === 'whiteout') files.set(path, spec('character', { mode: 0, device: [0, 0] }));
    if (kind === 'fifo') files.set(path, spec('fifo', common));
    if (kind === 'device') files.set(path, spec('block', { ...common, device: [8, byte] }));
  }
  return files;
});
