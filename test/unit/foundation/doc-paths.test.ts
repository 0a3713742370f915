import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/** The pages for readers name files, settings and sections; these tests notice when one of them has gone. */

const root = join(import.meta.dirname, '../../..');

interface Page {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
}

async function filesBelow(folder: string, ending: string): Promise<string[]> {
  const names = await readdir(join(root, folder), { recursive: true });
  return names.filter((name) => name.endsWith(ending)).map((name) => join(folder, name));
}

const paths = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', ...(await filesBelow('docs', '.md'))];
const pages: Page[] = await Promise.all(
  paths.map(async (path) => ({ path, text: await readFile(join(root, path), 'utf8') })),
);

/** Each match of the pattern's first group, with the page that it stands in. */
function* matches(pattern: RegExp): Generator<{ readonly page: Page; readonly found: string }> {
  for (const page of pages) {
    for (const match of page.text.matchAll(pattern)) yield { page, found: match[1] ?? '' };
  }
}

/** The anchors of a page's headings, as GitHub makes them: lower case, without punctuation, with "-" for a blank. */
function anchors(text: string): Set<string> {
  const headings = text.split('\n').filter((line) => /^#{1,6} /.test(line));
  return new Set(
    headings.map((line) =>
      line
        .slice(line.indexOf(' ') + 1)
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

test('every relative link leads to a file, and to a heading where it names one', () => {
  const broken: string[] = [];
  for (const { page, found } of matches(/\]\(([^()\s]+)\)/g)) {
    if (/^[a-z]+:/.test(found)) continue;
    const [file = '', anchor] = found.split('#', 2);
    const target = file === '' ? page.path : join(dirname(page.path), file);
    const text = pages.find(({ path }) => path === target)?.text;
    const leads =
      existsSync(join(root, target)) && (anchor === undefined || (text !== undefined && anchors(text).has(anchor)));
    if (!leads) broken.push(`${page.path}: ${found}`);
  }
  assert.equal(broken, []);
});

/** A path from the repository's root, or from test/; it ends before a placeholder such as `<kind>` or `…`. */
const pathPattern =
  /(?<![\w./<>#-])((?:lib|test|unit|system|bin|functions|scripts|template|docs|bench|soak|quickstart)\/[\w./-]*)/g;

test('every file and folder of the project that a page names is there', () => {
  const missing: string[] = [];
  for (const { page, found } of matches(pathPattern)) {
    const path = found.endsWith('.') ? found.slice(0, -1) : found;
    if (!existsSync(join(root, path)) && !existsSync(join(root, 'test', path))) missing.push(`${page.path}: ${path}`);
  }
  assert.equal(missing, []);
});

test('every test file that a page names without its folder is there', async () => {
  const tests = new Set((await filesBelow('test', '.test.ts')).map((path) => path.slice(path.lastIndexOf('/') + 1)));
  const missing = [...matches(/(?<![\w./-])([\w-]+\.test\.ts)/g)].filter(({ found }) => !tests.has(found));
  assert.equal(
    missing.map(({ page, found }) => `${page.path}: ${found}`),
    [],
  );
});

test('every setting that a page names is one of the code', async () => {
  const known = new Set<string>();
  for (const folder of ['lib', 'bin', 'bench', 'soak', 'quickstart', 'scripts']) {
    for (const path of await filesBelow(folder, 's')) {
      if (!/\.m?[jt]s$/.test(path)) continue;
      const text = await readFile(join(root, path), 'utf8');
      for (const [name] of text.matchAll(/IMAGEBUILDER_[A-Z_]*[A-Z]/g)) known.add(name);
    }
  }
  const unknown = [...matches(/(?<!\w)(IMAGEBUILDER_[A-Z_]*[A-Z])(?![*_…])/g)].filter(({ found }) => !known.has(found));
  assert.equal(
    unknown.map(({ page, found }) => `${page.path}: ${found}`),
    [],
  );
});

test('every test that docs/guarantees.md names by its title is in the file that it names', async () => {
  const plain = (text: string) => text.replaceAll('’', "'");
  const lines = plain(pages.find(({ path }) => path === 'docs/guarantees.md')?.text ?? '').split('\n');
  const files = await filesBelow('test', '.ts');
  const texts = await Promise.all(files.map(async (path) => plain(await readFile(join(root, path), 'utf8'))));
  const missing: string[] = [];
  /** The file that the head of a table names for all its rows. */
  let tableFile = '';
  for (const [index, line] of lines.entries()) {
    const cell = /\| ([^|]+) \|$/.exec(line)?.[1] ?? '';
    if (line.startsWith('|') && lines[index + 1]?.startsWith('|-')) tableFile = /`(.+)`$/.exec(cell)?.[1] ?? '';
    else if (cell !== '') {
      let file = tableFile;
      for (const item of cell.split('; ')) {
        const [, named, title = ''] = /^(?:`(\S+\.ts)`(?:: )?)?(.*)$/.exec(item) ?? [];
        file = named ?? file;
        const text = texts.find((_, at) => `/${files[at]}`.endsWith(`/${file}`)) ?? '';
        const parts = title.split('…').map((part) => part.replace(/^, /, '').trim());
        if (text === '' || !parts.every((part) => text.includes(part))) missing.push(`${file}: ${item}`);
      }
    }
  }
  assert.equal(missing, []);
});

test('git ignores every file that a page has its readers write in the repository', async () => {
  const ignored = (await readFile(join(root, '.gitignore'), 'utf8')).split('\n').filter((line) => line.startsWith('/'));
  const strewn: string[] = [];
  for (const { path, text } of pages) {
    const scripts = text.split('```').filter((part, index) => index % 2 === 1 && part.startsWith('sh\n'));
    for (const [, target = ''] of scripts.join().matchAll(/ > "?([^\s"$~/&][^\s"&]*)/g)) {
      if (!ignored.some((line) => `/${target}`.startsWith(line))) strewn.push(`${path}: ${target}`);
    }
  }
  assert.equal(strewn, []);
});

test('every page below docs/ is listed in docs/README.md', () => {
  const index = pages.find(({ path }) => path === 'docs/README.md')?.text ?? '';
  const unlisted = paths.filter(
    (path) =>
      path.startsWith('docs/') && path !== 'docs/README.md' && !index.includes(`](${path.slice('docs/'.length)})`),
  );
  assert.equal(unlisted, []);
});

test.run();
