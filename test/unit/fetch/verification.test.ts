import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseDigest } from '#lib/checksums.ts';
import type { VerifiedBy } from '#lib/evidence.ts';
import { exec } from '#lib/exec.ts';
import { type BaseImageOptions, fetchBaseImages } from '#lib/fetch/base-images.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import { failure } from '../../failure.ts';
import { craftTar } from '../../tar/craft.ts';
import { startFileServer, startServer, temporaryFolder, testClient, testIds } from './with-server.ts';

/** How a base image is verified: by lists of checksums in every form, their signatures, and the request's own digest. */

const image = Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), randomBytes(50_000)]);
const digest = (algorithm: string, content = image) => createHash(algorithm).update(content).digest('hex');
const wrong = digest('sha256', randomBytes(8));
const sums = `${digest('sha256')} *disk.img\n`;

let home = '';
const gpg = (args: readonly string[], input = '') =>
  exec('gpg', ['--homedir', home, '--batch', '--no-tty', '--pinentry-mode', 'loopback', '--passphrase', '', ...args], {
    input,
  });
/** Signs as `who`; detached and inline. */
const sign = async (who: string, text: string, ...more: readonly string[]) =>
  (await gpg(['--local-user', `=${who}`, '--armor', ...more], text)).stdout;

test.before(async () => {
  home = await mkdtemp(join(tmpdir(), 'imagebuilder-signers-'));
  for (const name of ['publisher', 'stranger']) await gpg(['--quick-generate-key', name, 'ed25519', 'sign', 'never']);
  await gpg(['--output', join(home, 'trusted.gpg'), '--export', '=publisher']);
});
test.after(async () => {
  await exec('gpgconf', ['--homedir', home, '--kill', 'all']);
  await rm(home, { recursive: true, force: true });
});

/** Fetches `urls` (paths of the files) with a fresh cache, twice where it succeeds: the second time from the cache. */
async function fetchOf(
  files: Readonly<Record<string, string | Buffer>>,
  urls: readonly string[],
  options: Partial<BaseImageOptions> & { readonly tls?: boolean } = {},
) {
  const { tls = false, ...overrides } = options;
  await using server = await startFileServer(
    Object.fromEntries(
      Object.entries({ '/disk.img': image, ...files }).map(([path, content]) => [
        path,
        { content: Buffer.from(content), etag: '"1"' },
      ]),
    ),
    { tls },
  );
  await using folder = await temporaryFolder();
  using client = testClient({ retry: { attempts: 1 } });
  const notices: string[] = [];
  const run = async (name: string) => {
    const workDirectory = join(folder.path, name);
    await mkdir(workDirectory);
    const [image] = await fetchBaseImages({
      ...{ client, workDirectory, cacheDirectory: join(folder.path, 'cache'), wanted: imageKinds.cloud.baseFile },
      ...{ urlList: urls.map((path) => server.url + path), cacheBytes: 10_000_000, maximumBytes: 10_000_000 },
      ...{ unprivilegedIds: testIds, signal: new AbortController().signal },
      onNotice: (message) => notices.push(message),
      ...overrides,
    });
    return image;
  };
  const first = await run('one');
  const second = await run('two');
  assert.equal([first.fromCache, second.fromCache], [false, true]);
  assert.equal({ ...second, path: '', fromCache: false }, { ...first, path: '' });
  return { ...first, listName: first.checksumsUrl?.slice(server.url.length), notices: notices.join('\n') };
}

const refused = async (...args: Parameters<typeof fetchOf>) => {
  const error = await failure(fetchOf(...args));
  return `${error.code}: ${error.message}`;
};

test('every form of list verifies the image, listed or beside it', async () => {
  const forms: readonly [string, string, string[]][] = [
    ['/SHA256SUMS', `\uFEFF${wrong}  other.img\r\n${digest('sha256')} *disk.img\r\n`, ['sha256']],
    ['/SHA512SUMS', `${digest('sha512')}  disk.img\n`, ['sha512']],
    ['/CHECKSUM', `# disk.img: 1 byte\nSHA256 (disk.img) = ${digest('sha256')}\n`, ['sha256']],
    ['/disk.img.sha256', `${digest('sha256')}\n`, ['sha256']],
    ['/disk.img.sha512', `${digest('sha512')}  disk.img\n`, ['sha512']],
  ];
  for (const [path, text, algorithms] of forms) {
    for (const urls of [['/disk.img'], ['/disk.img', path]]) {
      const found = await fetchOf({ [path]: text }, urls);
      assert.equal(
        [found.listName, found.verifiedBy, found.checksumAlgorithms],
        [path, 'checksums_over_http', algorithms],
        urls.join(),
      );
    }
    const changed = text.replaceAll(/[0-9a-f]{64,}/g, (hex) => 'f'.repeat(hex.length));
    assert.match(await refused({ [path]: changed }, ['/disk.img']), `image.checksum: `, path);
  }
});

test('all digests of an image are compared, of several algorithms in one list or in several', async () => {
  const both = `SHA256 (disk.img) = ${digest('sha256')}\nSHA512 (disk.img) = ${digest('sha512')}\n`;
  assert.equal((await fetchOf({ '/CHECKSUM': both }, ['/disk.img'])).checksumAlgorithms, ['sha256', 'sha512']);
  const files = { '/SHA256SUMS': sums, '/SHA512SUMS': `${'0'.repeat(128)}  disk.img\n` };
  const message = await refused(files, ['/disk.img', '/SHA256SUMS', '/SHA512SUMS']);
  assert.match(message, /image\.checksum: .*\/disk\.img has the sha512 digest .*SHA.*SUMS says 0{128}/);
});

test('a list in a folder above names the image by its path', async () => {
  const files = {
    '/release/amd64/disk.img': image,
    '/release/SHA256SUMS': `${wrong}  arm64/disk.img\n${digest('sha256')}  amd64/disk.img\n`,
  };
  const found = await fetchOf(files, ['/release/amd64/disk.img', '/release/SHA256SUMS']);
  assert.is(found.verifiedBy, 'checksums_over_http');
});

test('a list that the server keeps compressed is read', async () => {
  for (const [encoding, content] of [
    ['gzip', gzipSync(sums)],
    ['zstd', zstdCompressSync(sums)],
  ] as const) {
    await using server = await startServer((request, response) => {
      if (request.url === '/disk.img') response.end(image);
      else response.writeHead(200, { 'content-encoding': encoding }).end(content);
    });
    await using folder = await temporaryFolder();
    using client = testClient();
    const [found] = await fetchBaseImages({
      ...{ client, workDirectory: folder.path, cacheDirectory: join(folder.path, 'cache'), unprivilegedIds: testIds },
      ...{ wanted: imageKinds.cloud.baseFile, cacheBytes: 10_000_000, maximumBytes: 10_000_000 },
      ...{ urlList: [`${server.url}/disk.img`, `${server.url}/SHA256SUMS`], signal: new AbortController().signal },
    });
    assert.is(found.verifiedBy, 'checksums_over_http', encoding);
  }
});

test('an archive of a release is verified by its own signature, where its key is trusted', async () => {
  const archive = craftTar({ name: 'x', content: 'x'.repeat(3_000_000) });
  const keyrings = [join(home, 'trusted.gpg')];
  const fetched = async (signature: string, least: VerifiedBy = 'signature') => {
    const files = { '/a.tar': archive, '/a.tar.asc': signature };
    return await fetchOf(files, ['/a.tar', '/a.tar.asc'], {
      ...{ wanted: imageKinds.touch.baseFile, keyrings, leastVerification: least },
    });
  };
  const detached = (who: string, content: Buffer) => sign(who, content.toString('latin1'), '--detach-sign');
  const { verifiedBy, signedBy } = await fetched(await detached('publisher', archive));
  assert.is(verifiedBy, 'signature');
  assert.match(signedBy ?? '', /^[0-9A-F]{40}$/);
  const byStranger = await detached('stranger', archive);
  assert.is((await failure(fetched(byStranger))).code, 'image.unverified');
  const unproven = await fetched(byStranger, 'unverified');
  assert.equal([unproven.verifiedBy, unproven.signedBy], ['unverified', null]);
  assert.match(unproven.notices, 'the signature of');
  const wrong = await failure(fetched(await detached('publisher', Buffer.from('other')), 'unverified'));
  assert.is(wrong.code, 'image.checksum');
  assert.match(wrong.message, 'a.tar does not match it');
});

test('a listed list that cannot be used, or is for another file, fails', async () => {
  const list = (text: string) => refused({ '/SHA256SUMS': text }, ['/disk.img', '/SHA256SUMS']);
  assert.match(await list(`${digest('sha256')}  other.img\n`), 'has no checksum of disk.img: it is for other.img');
  assert.match(await list('<html>log in</html>'), 'holds no checksums: it is a web page');
  assert.match(await list('no digests today\n'), 'holds no checksums');
  assert.match(await list(`${digest('md5')}  disk.img\n`), 'no digest of disk.img there can be used');
  assert.match(await list(`${sums}${wrong}  disk.img\n`), 'two different sha256 digests');
  for (const path of ['/SHA512SUMS', '/disk.img.sha256', '/CHECKSUM', '/SHA256SUMS.gpg']) {
    assert.match(await refused({}, ['/disk.img', path]), `${path} answered 404`, path);
  }
  const other = { '/vmlinuz.sha256': `${wrong}\n` };
  assert.match(await refused(other, ['/disk.img', '/vmlinuz.sha256']), 'it is for vmlinuz');
});

test('lists for other files of the request, and weak ones beside a strong one, are no hindrance', async () => {
  const files = {
    '/SHA256SUMS': sums,
    '/MD5SUMS': `${digest('md5')}  disk.img\n`,
    '/disk.manifest': 'apt\t1.0\n',
    '/disk.manifest.sha256': `${wrong}\n`,
  };
  const found = await fetchOf(files, ['/disk.img', ...Object.keys(files)]);
  assert.is(found.listName, '/SHA256SUMS');
});

test('the digest in the request decides, and has to agree with a list', async () => {
  const checksum = parseDigest(`sha512:${digest('sha512')}`);
  const found = await fetchOf({}, ['/disk.img'], { checksum });
  assert.equal([found.verifiedBy, found.checksumsUrl, found.checksumAlgorithms], ['request', null, ['sha512']]);
  const listed = await fetchOf({ '/SHA256SUMS': sums }, ['/disk.img', '/SHA256SUMS'], { checksum });
  assert.equal([listed.verifiedBy, listed.checksumAlgorithms], ['request', ['sha512', 'sha256']]);
  const other = parseDigest(`sha256:${wrong}`);
  assert.match(await refused({}, ['/disk.img'], { checksum: other }), `but the request says ${wrong}`);
  const message = await refused({ '/SHA256SUMS': sums }, ['/disk.img', '/SHA256SUMS'], { checksum: other });
  assert.match(message, 'two different sha256 digests');
});

test('a signature by a key of the operator verifies, listed, beside or inside of the list', async () => {
  const keyrings = [join(home, 'trusted.gpg')];
  const detached = await sign('publisher', sums, '--detach-sign');
  const inline = await sign('publisher', sums, '--clear-sign');
  const cases: readonly [Record<string, string>, string[]][] = [
    [{ '/SHA256SUMS': sums, '/SHA256SUMS.gpg': detached }, ['/SHA256SUMS', '/SHA256SUMS.gpg']],
    [{ '/SHA256SUMS': sums, '/SHA256SUMS.sign': detached }, ['/SHA256SUMS']],
    [{ '/SHA256SUMS': sums, '/SHA256SUMS.asc': detached }, []],
    [{ '/CHECKSUM': inline }, ['/CHECKSUM']],
  ];
  for (const [files, listed] of cases) {
    const found = await fetchOf(files, ['/disk.img', ...listed], { keyrings, leastVerification: 'signature' });
    assert.is(found.verifiedBy, 'signature', Object.keys(files).join());
    assert.match(found.signedBy ?? '', /^[0-9A-F]{40}$/);
  }
});

test('a wrong signature fails, and one by a stranger proves nothing', async () => {
  const keyrings = [join(home, 'trusted.gpg')];
  const detached = await sign('publisher', 'another text', '--detach-sign');
  const files = { '/SHA256SUMS': sums, '/SHA256SUMS.gpg': detached };
  for (const urls of [['/disk.img', ...Object.keys(files)], ['/disk.img']]) {
    assert.match(await refused(files, urls, { keyrings }), /image\.checksum: the signature of .* does not match it/);
  }
  const tampered = (await sign('publisher', sums, '--clear-sign')).replace('disk.img', 'disk.xyz');
  assert.match(await refused({ '/CHECKSUM': tampered }, ['/disk.img', '/CHECKSUM'], { keyrings }), 'does not match it');

  const strange = { '/SHA256SUMS': sums, '/SHA256SUMS.gpg': await sign('stranger', sums, '--detach-sign') };
  const found = await fetchOf(strange, ['/disk.img', ...Object.keys(strange)], { keyrings });
  assert.equal([found.verifiedBy, found.signedBy], ['checksums_over_http', null]);
  assert.match(found.notices, /proves nothing: no keyring of IMAGEBUILDER_BASE_IMAGE_KEYRINGS has the key/);
  const options = { keyrings, leastVerification: 'signature' } as const;
  assert.match(await refused(strange, ['/disk.img'], options), 'image.unverified: ');
  const garbage = { '/SHA256SUMS': sums, '/SHA256SUMS.gpg': 'no signature' };
  assert.match((await fetchOf(garbage, ['/disk.img'], { keyrings })).notices, 'no signature that gpgv accepts');
});

test('text around the signed part of a list counts for nothing', async () => {
  const keyrings = [join(home, 'trusted.gpg')];
  const signed = await sign('publisher', `${wrong}  other.img\n`, '--clear-sign');
  const message = await refused({ '/CHECKSUM': `${signed}\n${sums}` }, ['/disk.img', '/CHECKSUM'], { keyrings });
  assert.match(message, 'it is for other.img');
});

test('an operator refuses bases with less evidence than demanded, before they are downloaded', async () => {
  const unverified = await refused({}, ['/disk.img'], { leastVerification: 'https' });
  assert.match(unverified, /image\.unverified: the base image is not verified: .* "https" or better/);
  assert.is((await fetchOf({}, ['/disk.img'], { leastVerification: 'https', tls: true })).verifiedBy, 'https');
  const over = { leastVerification: 'checksums_over_https', tls: true } as const;
  assert.match(await refused({}, ['/disk.img'], over), 'image.unverified');
  assert.is((await fetchOf({ '/SHA256SUMS': sums }, ['/disk.img'], over)).verifiedBy, 'checksums_over_https');
});

test('a keyring that cannot be read is the operator’s fault', async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, 'empty'), '');
  const files = { '/SHA256SUMS': sums, '/SHA256SUMS.gpg': await sign('publisher', sums, '--detach-sign') };
  const message = await refused(files, ['/disk.img', '/SHA256SUMS'], { keyrings: [join(folder.path, 'missing')] });
  assert.match(message, 'config.invalid: IMAGEBUILDER_BASE_IMAGE_KEYRINGS');
  const found = await fetchOf(files, ['/disk.img'], { keyrings: [join(folder.path, 'empty')] });
  assert.is(found.signedBy, null);
});

test.run();
