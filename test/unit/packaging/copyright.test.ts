import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { copyrightFile } from '../../../packaging/copyright.ts';
import { productionPackages } from '../../../packaging/npm-packages.ts';

/** The licences that a Debian package names. */

const root = join(import.meta.dirname, '../../..');

test('every npm package that is shipped has its licence in the copyright file', async () => {
  const packages = (await productionPackages(root)).map((one) => ({ ...one, files: join(root, one.folder) }));
  const text = await copyrightFile(packages);
  assert.ok(packages.length > 20);
  for (const { folder, name, version, license } of packages) {
    assert.match(text, `\n${name} ${version}, licence ${license}, in /usr/lib/imagebuilder/${folder}\n`);
  }
  assert.match(text, (await readFile(join(root, 'node_modules/got/license'), 'utf8')).trim());
});

async function withLicense(files: Readonly<Record<string, string>>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-license-'));
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
    const one = { files: directory, folder: 'node_modules/a', name: 'a', version: '1.0.0', license: 'X' };
    return await copyrightFile([one]);
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('the path of its copy stands for the text of the Apache License, wherever that is; what is around it stays', async () => {
  const apache = 'Apache License\nVersion 2.0, January 2004\n1. Definitions\nEND OF TERMS AND CONDITIONS';
  const text = await withLicense({ LICENSE: `Before\n${apache}\nBetween\n${apache}\nCopyright 2020 Somebody` });
  assert.not.match(text, 'Definitions');
  assert.match(text, /Before\n[\s\S]*common-licenses\/Apache-2\.0\nBetween\n[\s\S]*Copyright 2020 Somebody/);
});

test('notices are part of it, and a package without any licence is refused', async () => {
  assert.match(await withLicense({ 'license-mit': 'M', NOTICE: 'N', 'index.js': 'J' }), /\n\nN\n\nM\n/);
  let message = '';
  await withLicense({ 'index.js': '' }).catch((error: Error) => {
    message = error.message;
  });
  assert.is(message, 'the npm package a 1.0.0 (X) has no file with its licence');
});

test.run();
