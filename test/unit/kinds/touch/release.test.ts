import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import type { FetchedFile } from '#lib/fetch/base-images.ts';
import { copyParts } from '#lib/kinds/touch/copy-parts.ts';
import { touch } from '#lib/kinds/touch/touch.ts';
import { failure } from '../../../failure.ts';
import { type CraftedMember, craftTar } from '../../../tar/craft.ts';
import { temporaryFolder } from '../../image/temporary.ts';
import { testWith } from '../../with-programs.ts';

/** The archives of a release: the root file system is found among them, and the others stay as they are. */

const { unprivilegedIds } = loadConfig({}).tools;
const { signal } = new AbortController();
const sha256 = (content: Buffer) => createHash('sha256').update(content).digest('hex');

const folder = (name: string): CraftedMember => ({ name, flag: '5' });
const file = (name: string, content = name): CraftedMember => ({ name, content });

function root(prefix = 'system/'): Buffer {
  const folders = ['', 'etc/', 'var/', 'var/lib/', 'var/lib/dpkg/'].map((name) => prefix + name);
  return craftTar(...folders.filter((name) => name !== '').map(folder), file(`${prefix}var/lib/dpkg/status`));
}

const archives = {
  device: craftTar(file('partitions/boot.img'), folder('data/'), file('system/opt/overlay/x')),
  container: craftTar(file('system/var/lib/lxc/android/android-rootfs.img')),
  overlay: craftTar(folder('./'), folder('./system/'), file('./system/lib/modules/x.ko')),
  custom: craftTar(folder('custom/'), file('custom/click/x.click')),
  version: craftTar(file('system/etc/ubuntu-build', '42'), file('system/etc/system-image/channel.ini', '[service]\n')),
  keyring: craftTar(file('keyring.json'), file('keyring.gpg')),
  empty: gzipSync(craftTar()),
};

interface Served {
  /** The name by its URL. */
  readonly name: string;
  readonly content: Buffer;
  readonly beside?: FetchedFile['beside'];
  readonly isNamed?: boolean;
}

/** Inspects files as they were fetched, in a folder of their own; `use` may look into it. */
async function inspect<Value>(
  served: readonly Served[],
  use: (found: Awaited<ReturnType<typeof touch.inspect>>, directory: string) => Promise<Value>,
  maximumVirtualBytes = 2 ** 24,
): Promise<Value> {
  await using place = await temporaryFolder();
  const files: FetchedFile[] = [];
  for (const [index, { name, content, beside = [], isNamed = true }] of served.entries()) {
    const path = place.file(`base-image-${index}`);
    await writeFile(path, content);
    files.push({
      ...{
        path,
        url: `http://user:word@x/${name}`,
        sizeBytes: content.length,
        sha256: sha256(content),
        fileName: name,
      },
      ...{ fromCache: false, verifiedBy: 'unverified', checksumsUrl: null, checksumAlgorithms: [], signedBy: null },
      ...{ isSound: false, beside, isNamed },
    });
  }
  const [first] = files as [FetchedFile];
  const image = await touch.inspect(first, {
    ...{ maximumVirtualBytes, unprivilegedIds, outputFormat: 'qcow2', diskBytes: null, workDirectory: place.path },
    ...{ files, signal, onNotice: () => undefined, onProgress: () => undefined },
    baseImage: { image_type: 'touch', url_list: ['http://x/image'], series: 'noble' },
  });
  return await use(image, place.path);
}

/** Code and message of the error that ends the inspection. */
async function refused(served: readonly Served[], maximumVirtualBytes?: number): Promise<string> {
  const error = await failure(inspect(served, async () => undefined, maximumVirtualBytes));
  assert.not.match(error.message, 'word');
  return `${error.code}: ${error.message}`;
}

const rootFile = { name: 'ubuntu.tar', content: root() };

test('the root file system is found by its content, in any order and under any name', async () => {
  const others = (['device', 'custom', 'version'] as const).map((name) => ({
    name: `${name}x`,
    content: archives[name],
  }));
  for (const prefix of ['system/', './system/', 'system/./', '', './']) {
    for (const at of [0, 1, 3]) {
      const served = others.toSpliced(at, 0, { name: 'device-42.tar', content: root(prefix) });
      await inspect(served, async ({ base, size }) => {
        assert.is(base?.url, 'http://user:word@x/device-42.tar', prefix);
        assert.is(
          size.partBytes,
          others.reduce((sum, { content }) => sum + content.length, 0),
        );
      });
    }
  }
});

test('parts may be packed as the root file system may, and nothing of them stays unpacked', async () => {
  const packed: Served[] = [
    { name: 'ubuntu.tar.gz', content: gzipSync(root()) },
    { name: 'device.tar.gz', content: gzipSync(archives.device) },
    { name: 'custom.tar.zst', content: zstdCompressSync(archives.custom) },
    { name: 'version.tar', content: archives.version },
  ];
  await inspect(packed, async ({ format }, directory) => {
    assert.is(format, 'tar.gz');
    const left = (await readdir(directory)).filter((name) => !name.startsWith('base-image'));
    assert.equal(left, [`${sha256(packed[0]?.content ?? Buffer.alloc(0))}.tar`]);
  });
});

testWith('xz')('parts that xz has packed are walked like the others', async () => {
  const packed = async (content: Buffer) => {
    await using place = await temporaryFolder();
    await writeFile(place.file('a'), content);
    await exec('xz', ['-0', place.file('a')]);
    return await readFile(place.file('a.xz'));
  };
  const served = [
    { name: 'a', content: await packed(root()) },
    { name: 'b', content: await packed(archives.version) },
  ];
  await inspect(served, async ({ format, base }) =>
    assert.equal([format, base?.url], ['tar.xz', 'http://user:word@x/a']),
  );
});

test('each part is known by its members, and by its name where these leave a doubt', async () => {
  const kindsOf = async (content: Buffer, name: string) => {
    const twin = { name: 'device-twin.tar', content: craftTar(file('partitions/twin.img')) };
    const error = await refused([rootFile, { name, content }, twin]).catch(() => 'another part');
    return /two device archives/.test(error) ? 'device' : error;
  };
  for (const name of ['device', 'container', 'overlay'] as const) {
    assert.is(await kindsOf(archives[name], 'x.tar'), 'device', name);
  }
  for (const name of ['custom', 'version'] as const)
    assert.is(await kindsOf(archives[name], 'device.tar'), 'another part');
  assert.is(await kindsOf(archives.overlay, 'trusty-touch-armhf.custom.tar.gz'), 'another part');
  const mixed = craftTar(file('custom/x'), file('partitions/boot.img'));
  assert.is(await kindsOf(mixed, 'x.tar'), 'device');
  assert.is(await kindsOf(mixed, 'custom-42.tar.xz'), 'another part');
  assert.is(await kindsOf(archives.keyring, 'version-1.tar.xz'), 'another part');
});

test('a release without a root file system, or with two, is refused with the URLs', async () => {
  const device = { name: 'device.tar', content: archives.device };
  const version = { name: 'version.tar', content: archives.version };
  assert.is(
    await refused([device, version]),
    'image.unsupported: url_list holds no root file system, but the device archive http://x/device.tar, the version archive http://x/version.tar of a release: add the URL of its root file system',
  );
  for (const content of [archives.device, archives.custom, archives.version]) {
    assert.match(
      await refused([{ name: 'x', content }]),
      /no root file system, but the (device|custom|version) archive/,
    );
  }
  assert.is(
    await refused([rootFile, device, { name: 'b/rootfs.tar', content: root('./') }]),
    'image.unsupported: url_list holds two root file systems, http://x/ubuntu.tar and http://x/b/rootfs.tar: name one, and its mirrors',
  );
});

test('archives that are no part of a release are refused with what they hold', async () => {
  for (const [content, holds] of [
    [archives.keyring, /but "keyring.json", "keyring.gpg"/],
    [archives.empty, /but nothing/],
  ] as const) {
    const message = await refused([rootFile, { name: 'x.tar', content }]);
    assert.match(message, /^image.unsupported: http:\/\/x\/x.tar: it holds neither a root file system nor a part/);
    assert.match(message, holds);
  }
});

test('hostile parts are refused as hostile images are, with their URL', async () => {
  const part = (...members: CraftedMember[]) => craftTar(file('partitions/boot.img'), ...members);
  const whole = archives.device;
  const cases: [Buffer, RegExp][] = [
    [part(file('../x')), /^image.unsafe: http:\/\/x\/p: .*leads out/],
    [part(file('/x')), /^image.unsafe: .*absolute/],
    [part(file('data/a\nb')), /^image.unsafe: .*control character/],
    [part(file('partitions/boot.img')), /^image.corrupt: .*there twice/],
    [
      part({ name: 'data', flag: '2', target: '/' }, file('data/x')),
      /^image.unsafe: .*lies below "data", which is no folder/,
    ],
    [part({ name: 'data/x', flag: '1', target: '../x' }), /^image.unsafe: /],
    [part({ name: 'data/x', flag: 'S' }), /^image.unsupported: .*sparse/],
    [part({ name: 'system/x', flag: '4', device: [1, 2] }), /^image.unsafe: .*device/],
    [whole.subarray(0, whole.length - 1024), /^image.truncated: /],
    [gzipSync(whole).subarray(0, 40), /^image.truncated: .*gzip/],
    [gzipSync(Buffer.from('#!/bin/sh\necho no archive\n')), /^image.unsupported: .*holds a text file/],
  ];
  for (const [content, message] of cases) assert.match(await refused([rootFile, { name: 'p', content }]), message);
});

test('the archives of a release unpack to no more, together, than one image may', async () => {
  const large = gzipSync(craftTar(file('data/x', 'x'.repeat(40_000))));
  const served = [
    rootFile,
    ...['device', 'custom', 'version'].map((kind) => ({ name: `${kind}-1.tar`, content: large })),
  ];
  await inspect(served, async () => undefined, 200_000);
  assert.match(await refused(served, 100_000), /^image.too_large: http:\/\/x\/version-1.tar: /);
});

test('a list of checksums or a digest that is about other archives is no word for the root file system', async () => {
  const served = [
    { ...rootFile, isNamed: false },
    { name: 'version.tar', content: archives.version },
  ];
  assert.match(await refused(served), /^image.checksum: neither base_image.checksum nor .* http:\/\/x\/ubuntu.tar/);
});

test('parts are copied byte by byte, under names that no other file of a build has', async () => {
  const content = Buffer.from('signed');
  const beside: FetchedFile['beside'] = [
    { role: 'signature', name: 'device-1.tar.xz.asc', content },
    { role: 'companion', name: 'device-1.json', content },
    { role: 'signature', name: 'device-1.json.asc', content },
  ];
  await using place = await temporaryFolder();
  const path = place.file('cached');
  await writeFile(path, archives.device, { mode: 0o444 });
  const copied = async (fileName: string, digest = sha256(archives.device)) => {
    const output = await temporaryFolder();
    const base = { path, url: 'http://x/x', sizeBytes: archives.device.length, sha256: digest, fileName };
    const evidence = { verifiedBy: 'unverified', checksumsUrl: null, checksumAlgorithms: [], signedBy: null } as const;
    const part = { ...base, ...evidence, fromCache: false, isSound: false, beside, isNamed: true };
    try {
      const found = await copyParts([{ kind: 'device', file: part, compression: 'xz' }], output.path, signal);
      for (const { path: copy, checksums } of found) assert.is(sha256(await readFile(copy)), checksums.sha256);
      return found.map(({ role, name }) => `${role} ${name}`);
    } finally {
      await output[Symbol.asyncDispose]();
    }
  };
  assert.equal(await copied('device-1.tar.xz'), [
    'device device-1.tar.xz',
    'signature device-1.tar.xz.asc',
    'companion device-1.json',
    'signature device-1.json.asc',
  ]);
  assert.is((await copied('trusty-touch.device.tar.gz'))[0], 'device device-trusty-touch.device.tar.gz');
  const byDigest = `device device-${sha256(archives.device)}.tar.xz`;
  for (const name of [
    'image.json',
    '../device-1.tar',
    'device-a/b.tar',
    'device-\u202e.tar',
    `device-${'x'.repeat(200)}.tar`,
  ]) {
    assert.is((await copied(name))[0], byDigest, name);
  }
  const changed = await failure(copied('device-1.tar.xz', sha256(content)));
  assert.is(changed.code, 'image.corrupt');
});

test.run();
