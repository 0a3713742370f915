import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseDigest } from '#lib/checksums.ts';
import { type BaseImageOptions, fetchBaseImages } from '#lib/fetch/base-images.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import { failure } from '../../failure.ts';
import { craftTar } from '../../tar/craft.ts';
import { startFileServer, temporaryFolder, testClient, testIds } from './with-server.ts';

/** All archives of a release are fetched, with the small files beside them: their content decides later what each is. */

const archive = (name: string) => craftTar({ name, content: name.repeat(100) });
const digest = (name: string, algorithm = 'sha256') => createHash(algorithm).update(archive(name)).digest('hex');
const archives = { '/a.tar.xz': 'a', '/b.tar.xz': 'b', '/c.tar': 'c' };

interface Fetching extends Partial<BaseImageOptions> {
  /** Texts by their paths, beside the archives. */
  readonly texts?: Readonly<Record<string, string>>;
}

async function fetchOf(paths: readonly string[], { texts = {}, ...overrides }: Fetching = {}) {
  const files = Object.fromEntries([
    ...Object.entries(archives).map(([path, name]) => [path, { content: archive(name), etag: `"${name}"` }]),
    ...Object.entries(texts).map(([path, text]) => [path, { content: Buffer.from(text) }]),
  ]);
  await using server = await startFileServer(files);
  await using folder = await temporaryFolder();
  using client = testClient({ retry: { attempts: 1 } });
  const workDirectory = join(folder.path, 'work');
  await mkdir(workDirectory);
  const found = await fetchBaseImages({
    ...{ urlList: paths.map((path) => server.url + path), wanted: imageKinds.touch.baseFile, client, workDirectory },
    ...{ cacheDirectory: join(folder.path, 'cache'), cacheBytes: 10_000_000, maximumBytes: 10_000_000 },
    ...{ unprivilegedIds: testIds, signal: new AbortController().signal, ...overrides },
  });
  for (const { path, sha256 } of found) {
    assert.is(
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
      sha256,
    );
  }
  return found;
}

const refused = async (...args: Parameters<typeof fetchOf>) => {
  const { code, message } = await failure(fetchOf(...args));
  return `${code}: ${message}`;
};

const all = Object.keys(archives);

test('each archive is fetched once, mirrors of it are none, and progress and room count all', async () => {
  const progress: (number | null)[][] = [];
  const rooms: unknown[] = [];
  const found = await fetchOf([...all, '/a.tar.xz?mirror'], {
    onProgress: (current, total) => progress.push([current, total]),
    beforeDownload: async (...bytes) => void rooms.push(bytes),
  });
  assert.equal(
    found.map(({ fileName }) => fileName),
    ['a.tar.xz', 'b.tar.xz', 'c.tar'],
  );
  const total = found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  assert.equal(progress.at(-1), [total, total]);
  const [{ sizeBytes }] = found;
  assert.equal(rooms, Array(3).fill([sizeBytes, total - sizeBytes]));
});

test('the signature and the description of each come with it, by their names', async () => {
  const texts = {
    '/a.tar.xz.asc': '-----BEGIN PGP SIGNATURE-----\na',
    '/a.json': '{"version": "1"}',
    '/a.json.asc': '-----BEGIN PGP SIGNATURE-----\nj',
    '/other.json': '{}',
    '/c.manifest': 'dpkg\t1\n',
  };
  const [a, b] = await fetchOf([...Object.keys(texts), ...all], { texts });
  assert.equal(
    a.beside.map(({ role, name, content }) => [role, name, content.toString()]),
    [
      ['signature', 'a.tar.xz.asc', texts['/a.tar.xz.asc']],
      ['companion', 'a.json', texts['/a.json']],
      ['signature', 'a.json.asc', texts['/a.json.asc']],
    ],
  );
  assert.equal(b?.beside, []);
  const [only] = await fetchOf(['/a.tar.xz', '/a.json'], { texts });
  assert.equal(
    only.beside.map(({ name }) => name),
    ['a.json'],
  );
});

test('a file of the release that cannot be had, or is too large, ends the build', async () => {
  for (const path of ['/d.tar.gz', '/a.json', '/a.tar.xz.asc']) {
    const message = await refused([...all, path]);
    assert.match(message, `${path} answered 404`);
    assert.match(message, /^image.not_found/, path);
  }
  const large = `{"version": "${'1'.repeat(70_000)}"}`;
  assert.match(
    await refused([...all, '/a.json'], { texts: { '/a.json': large } }),
    'answered with more than 65536 bytes',
  );
  // Texts of other names are no part of it.
  assert.is((await fetchOf([...all, '/list.manifest'])).length, 3);
});

test('the limit of a download counts all archives together', async () => {
  const bytes = archive('a').length;
  assert.match(
    await refused(all, { maximumBytes: 3 * bytes - 1 }),
    `image.too_large: the archives of url_list have ${3 * bytes} bytes or more; IMAGEBUILDER_MAXIMUM_DOWNLOAD allows ${3 * bytes - 1}`,
  );
});

test('a list of checksums decides for the archives that it names; the others are not named', async () => {
  const list = (...lines: string[]) => ({ texts: { '/SHA256SUMS': `${lines.join('\n')}\n` } });
  const found = await fetchOf([...all, '/SHA256SUMS'], list(`${digest('b')} *b.tar.xz`));
  assert.equal(
    found.map(({ isNamed, checksumAlgorithms }) => [isNamed, checksumAlgorithms]),
    [
      [false, []],
      [true, ['sha256']],
      [false, []],
    ],
  );
  const wrong = await refused([...all, '/SHA256SUMS'], list(`${digest('a')} *b.tar.xz`));
  assert.match(wrong, /^image.checksum: .*b.tar.xz/);
  assert.match(
    await refused([...all, '/SHA256SUMS'], list(`${digest('a')} *z.tar.xz`)),
    /^image.checksum: .*has no checksum of/,
  );
});

test('the digest of the request is that of one of the archives', async () => {
  for (const algorithm of ['sha256', 'sha384', 'sha512']) {
    const checksum = parseDigest(`${algorithm}:${digest('b', algorithm)}`);
    const found = await fetchOf(all, { checksum });
    assert.equal(
      found.map(({ verifiedBy }) => verifiedBy),
      ['unverified', 'request', 'unverified'],
    );
    assert.equal(
      found.map(({ isNamed }) => isNamed),
      [false, true, false],
    );
    const strict = await refused(all, { checksum, leastVerification: 'checksums_over_http' });
    assert.match(strict, /^image.unverified/);
  }
  const checksum = parseDigest(`sha256:${digest('z')}`);
  assert.match(
    await refused(all, { checksum }),
    /^image.checksum: none of the archives of url_list has the sha256 digest/,
  );
});

test('kinds without parts still take one image', async () => {
  const { wanted } = { wanted: { formats: ['tar'], description: 'an archive' } } as const;
  assert.match(await refused(all, { wanted }), /^image.unsupported: url_list holds two different images/);
});

test.run();
