import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Archive, describeArchives, takeArchives } from '#lib/apt/outside/archives.ts';
import { createStanzaReader, renderStanza } from '#lib/apt/outside/stanzas.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { holds } from '../holds.ts';

/** Takes files with these names and contents, while the worker's lists say `lists`. */
async function take(
  files: Readonly<Record<string, string>>,
  lists: string,
): Promise<{ readonly taken: readonly Archive[]; readonly asked: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-archives-'));
  try {
    const archives = join(directory, 'archives');
    await mkdir(archives);
    for (const [name, content] of Object.entries(files)) await writeFile(join(archives, name), content);
    let asked = '';
    const worker: GuestSession = {
      kind: 'host',
      network: true,
      mounted: [],
      notMounted: [],
      async run(script) {
        asked = String(script.files?.names);
        for (const line of lists.split('\n')) script.onLine?.(line, 'stdout');
        return { stdout: '', stderr: '' };
      },
      close: async () => {},
      async [Symbol.asyncDispose]() {},
    };
    const folder = join(directory, 'folder');
    const described = await describeArchives(archives, { worker, architecture: 'amd64' });
    const taken = await takeArchives(described, archives, folder, new AbortController().signal);
    for (const [name, content] of Object.entries(files)) {
      assert.is(await readFile(join(folder, name), 'utf8'), content);
    }
    assert.equal((await readdir(folder)).sort(), Object.keys(files).sort());
    assert.equal((await readdir(directory)).sort(), ['archives', 'folder'], 'something was unpacked');
    return { taken, asked };
  } finally {
    await rm(directory, { recursive: true });
  }
}

const noiseSha256 = createHash('sha256').update('noise').digest('hex');

test('a package is described by the lists, whatever its file holds', async () => {
  const { taken, asked } = await take(
    { 'x_1%3a2_amd64.deb': 'noise', 'y_1_i386.deb': 'noise', 'z_1_all.deb': 'noise' },
    `Package: x
Architecture: amd64
Version: 1:1
Depends: old

Package: x
Architecture: amd64
Version: 1:2
Depends: libc6 (>= 2.36),
 other
Filename: pool/x.deb
Size: 1
Description-en: not wanted
 Depends: nor this
SHA256: 00

Package: y
Architecture: i386
Version: 1

Package: z
Version: 1
Architecture: all
`,
  );
  assert.is(asked, 'x\ny:i386\nz');
  const [x, y, z] = taken;
  assert.match(
    x?.stanza ?? '',
    /^Package: x\nVersion: 1:2\nArchitecture: amd64\nDepends: libc6 \(>= 2\.36\),\n other\nFilename: \.\/x_1%3a2_amd64\.deb\nSize: 5\nSHA256: [0-9a-f]{64}\nDescription: x\n$/,
  );
  assert.match(y?.stanza ?? '', /^Package: y\n/);
  assert.match(z?.stanza ?? '', /^Package: z\n/);
});

test('of two packages that say they are the same version, the one that was downloaded is described', async () => {
  const stanza = (depends: string, sha256: string) =>
    `Package: x\nVersion: 1\nArchitecture: all\nDepends: ${depends}\nSHA256: ${sha256}\n\n`;
  const { taken } = await take({ 'x_1_all.deb': 'noise' }, stanza('a', '00') + stanza('b', noiseSha256));
  assert.match(taken[0]?.stanza ?? '', /^Depends: b$/m);
});

test('a package that the lists do not know is not taken', async () => {
  const lists = 'Package: x\nVersion: 1\nArchitecture: amd64\n';
  const error: unknown = await take({ 'x_1_all.deb': 'noise' }, lists).catch((thrown: unknown) => thrown);
  assert.instance(error, ImageBuilderError);
  assert.is((error as ImageBuilderError).code, 'tool.failed');
  assert.match((error as Error).message, 'x_1_all.deb');
});

test('a file with the name of no package is not taken', async () => {
  const error: unknown = await take({ 'x_1_2_amd64.deb': 'noise' }, '').catch((thrown: unknown) => thrown);
  assert.is((error as ImageBuilderError).code, 'apt.repository');
  assert.match((error as Error).message, 'x_1_2_amd64.deb');
});

test('a stanza cannot give a field twice, nor another field within one', () => {
  const reader = createStanzaReader();
  for (const line of ['Package: x', 'Package: y', ' Version: 9', 'Version: 1', 'no field', ':', '', '', 'Version: 2']) {
    reader.add(line);
  }
  assert.equal(reader.end().map(renderStanza), ['Package: x\nVersion: 1\n', 'Version: 2\n']);
});

test('lists beyond the limit are refused, however they are cut into lines', () => {
  for (const line of ['', ' x', 'Depends: x', `Depends: ${'x'.repeat(500)}`]) {
    const reader = createStanzaReader(10_000);
    for (let count = 0; count < 1000; count += 1) reader.add(line);
    assert.throws(() => reader.end(), 'more of the packages than can be taken in');
  }
});

test('a stanza is one whatever the lists say: no empty line, and each field once', () => {
  const part = fc.constantFrom('Package', 'Version', ':', ' ', 'x', '\t', 'SHA256: 0', '-', '');
  const line = fc.array(part, { maxLength: 5 }).map((parts) => parts.join(''));
  holds(
    fc.property(fc.array(line, { maxLength: 20 }), (lines) => {
      const reader = createStanzaReader();
      for (const each of lines) reader.add(each);
      for (const text of reader.end().map(renderStanza)) {
        const fields = text.split('\n').filter((each) => /^[^\s]/.test(each));
        assert.is(new Set(fields.map((each) => each.split(':')[0])).size, fields.length);
        assert.not.match(text, '\n\n');
      }
    }),
  );
});

test.run();
