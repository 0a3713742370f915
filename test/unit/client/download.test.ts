import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { download, type RemoteFile } from '#lib/client/download.ts';
import { createConnections } from '#lib/http/connections.ts';
import { failure } from '../../failure.ts';

const content = randomBytes(300_000);
const half = content.length / 2;
const sha256 = createHash('sha256').update(content).digest('hex');
const connections = createConnections({ connectTimeoutMs: 5_000, stallTimeoutMs: 5_000, userAgent: 'test' });
/** The ranges that were asked for, and how the server answers. */
let asked: (string | undefined)[] = [];
let knowsRanges = true;
let sent: Buffer = content;
let cutAt = Number.POSITIVE_INFINITY;
let root: string;
let url: string;

const server = createServer((request, response) => {
  const { range } = request.headers;
  asked.push(range);
  const start = knowsRanges && range !== undefined ? Number(/^bytes=(\d+)-$/.exec(range)?.[1]) : 0;
  response.writeHead(start > 0 ? 206 : 200, { 'content-length': sent.length - start });
  if (cutAt >= sent.length) return response.end(sent.subarray(start));
  response.write(sent.subarray(start, cutAt), () => response.destroy());
});

test.before(async () => {
  root = await mkdtemp(join(tmpdir(), 'download-'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
test.before.each(() => {
  asked = [];
  knowsRanges = true;
  sent = content;
  cutAt = Number.POSITIVE_INFINITY;
});
test.after(async () => {
  server.close();
  connections[Symbol.dispose]();
  await rm(root, { recursive: true });
});

const remote = (values: Partial<RemoteFile> = {}): RemoteFile => ({
  ...{ name: 'image.qcow2', size: content.length, checksums: { sha256 }, location: url, store: 'swift' },
  ...values,
});

async function fetchInto(folder: string, file: RemoteFile = remote()): Promise<string> {
  return await download(file, {
    folder,
    open: ({ location }, start) =>
      connections.send(location, { headers: start === 0 ? {} : { range: `bytes=${start}-` } }),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
}

const newFolder = () => mkdtemp(join(root, 'to-'));

test('a file is there under its name when it is whole, in a folder that is made for it, and is fetched once', async () => {
  const folder = join(await newFolder(), 'new');
  const path = await fetchInto(folder);
  assert.is(path, join(folder, 'image.qcow2'));
  assert.ok((await readFile(path)).equals(content));
  assert.is(await fetchInto(folder), path);
  assert.equal([asked, await readdir(folder)], [[undefined], ['image.qcow2']]);
});

test('after a cut, the same call fetches the rest', async () => {
  const folder = await newFolder();
  cutAt = half;
  await failure(fetchInto(folder));
  assert.equal(await readdir(folder), ['.image.qcow2.part']);
  cutAt = Number.POSITIVE_INFINITY;
  assert.ok((await readFile(await fetchInto(folder))).equals(content));
  assert.match(asked[1] ?? '', /^bytes=[1-9]\d*-$/);
});

test('a server without ranges sends all of it again', async () => {
  const folder = await newFolder();
  await writeFile(join(folder, '.image.qcow2.part'), content.subarray(0, half));
  knowsRanges = false;
  assert.ok((await readFile(await fetchInto(folder))).equals(content));
});

test('another content than that of the digest never gets the name of the file', async () => {
  const folder = await newFolder();
  sent = randomBytes(content.length);
  const error = await failure(fetchInto(folder));
  assert.is(error.code, 'upstream.unusable');
  assert.equal(await readdir(folder), []);
  // A rest that does not belong to the part that is there, and one that is too long.
  await writeFile(join(folder, '.image.qcow2.part'), randomBytes(half));
  sent = content;
  assert.is((await failure(fetchInto(folder))).code, 'upstream.unusable');
  sent = Buffer.concat([content, content]);
  assert.match((await failure(fetchInto(folder))).message, 'more than the 300000 bytes');
});

test('a file of another content stays as it is', async () => {
  const folder = await newFolder();
  await writeFile(join(folder, 'image.qcow2'), 'of somebody else');
  const error = await failure(fetchInto(folder));
  assert.equal([error.code, asked], ['request.invalid', []]);
  assert.is(await readFile(join(folder, 'image.qcow2'), 'utf8'), 'of somebody else');
});

test('no name of the service leads out of the folder, nor does a link that waits there', async () => {
  const folder = await newFolder();
  for (const name of ['../image', '/etc/image', '..', '.', '', '.bashrc', 'a/b', 'a\\b', 'a\0b']) {
    assert.is((await failure(fetchInto(folder, remote({ name })))).code, 'upstream.unusable', name);
  }
  assert.equal(asked, []);
  const canary = join(root, 'canary');
  await writeFile(canary, 'canary');
  await symlink(canary, join(folder, '.image.qcow2.part'));
  await failure(fetchInto(folder));
  assert.is(await readFile(canary, 'utf8'), 'canary');
});

test('a file of the file store is copied from the disk, and one that is not there is explained', async () => {
  const [folder, store] = [await newFolder(), await newFolder()];
  await mkdir(join(store, 'build'));
  const path = join(store, 'build', 'image.qcow2');
  await writeFile(path, content);
  const file = remote({ store: 'file', location: pathToFileURL(path).href });
  assert.ok((await readFile(await fetchInto(folder, file))).equals(content));
  await rm(path);
  assert.match((await failure(fetchInto(await newFolder(), file))).message, 'is not on this machine');
});

test.run();
