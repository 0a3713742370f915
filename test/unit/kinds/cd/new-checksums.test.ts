import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IsoEntry } from '#lib/iso9660/tree.ts';
import { hashText } from '#lib/kinds/cd/checksum-lists.ts';
import { type HashFile, updateChecksumLists } from '#lib/kinds/cd/new-checksums.ts';

/** The lists of checksums of a medium together, some of which name each other. */

const layer = 'live/filesystem.squashfs';
const sum = (text: string) => hashText(text, 'md5');

/** New texts of these lists, after the layer has got the content `new`. */
async function update(lists: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const entry = (target: string | null): IsoEntry => {
    const type = target === null ? 'file' : 'link';
    return { type, sizeBytes: 1, extents: [], target, encoding: null, owner: null };
  };
  const paths = [layer, 'boot/isolinux.bin', ...Object.keys(lists)];
  const files = new Map(paths.map((path) => [path, entry(null)]));
  files.set('debian', entry('.')).set('live/again', entry('../debian/live/filesystem.squashfs'));
  const all = Object.entries(lists).map(([path, text]) => ({ path, text }));
  const hash: HashFile = async (path, file, algorithms) => {
    assert.is(path, layer);
    return new Map([...algorithms].map((algorithm) => [algorithm, hashText(file, algorithm)]));
  };
  return Object.fromEntries(
    await updateChecksumLists(all, files, new Map([[layer, 'new']]), new Set(['boot/isolinux.bin']), hash),
  );
}

test('a list that names other lists gets their new digests, in whatever order they lie', async () => {
  const line = (of: string, path: string) => `${sum(of)}  ./${path}\n`;
  const [before, after] = ['old', 'new'].map((content) => {
    const inner = line(content, layer);
    const middle = line(inner, 'live/md5sum.txt');
    return {
      'a/md5sums': line(middle, 'b/MD5SUMS') + line(inner, 'live/md5sum.txt'),
      'b/MD5SUMS': middle,
      'live/md5sum.txt': inner,
    };
  });
  assert.ok(before && after);
  assert.equal(await update(before), after);
  assert.equal(await update(Object.fromEntries(Object.entries(before).reverse())), after);
});

test('two lists that name each other, and one that names itself, keep the digests that were wrong before', async () => {
  const wrong = '0'.repeat(32);
  const of = (content: string) => {
    const first = `${sum(content)}  ./${layer}\n${wrong}  ./second.md5\n${wrong}  ./first.md5\n`;
    return { 'first.md5': first, 'second.md5': `${sum(first)}  ./first.md5\n` };
  };
  const { 'first.md5': first, 'second.md5': second } = of('old');
  assert.equal(await update({ 'first.md5': first, 'second.md5': second }), of('new'));
  assert.equal(await update({ 'second.md5': second, 'first.md5': first }), of('new'));
});

test('lines by symbolic links count, those of files that writing a medium changes go, and other lists stay', async () => {
  const before = `${sum('old')}  ./live/again\n${sum('x')}  ./boot/isolinux.bin\n${sum('old')}  debian/${layer}\n`;
  const other = `${sum('x')}  ./none\n`;
  assert.equal(await update({ 'md5sum.txt': before, 'other.md5': other }), {
    'md5sum.txt': `${sum('new')}  ./live/again\n${sum('new')}  debian/${layer}\n`,
  });
});

test('a chain of ten thousand lists is updated in one go', async () => {
  const lists: Record<string, string> = {};
  let [text, path] = [`${sum('old')}  ./${layer}\n`, 'l0.md5'];
  for (let index = 1; index <= 10_000; index++) {
    lists[path] = text;
    [text, path] = [`${sum(text)}  ./${path}\n`, `l${index}.md5`];
  }
  const changed = await update(Object.fromEntries(Object.entries(lists).reverse()));
  assert.is(Object.keys(changed).length, 10_000);
});

test.run();
