import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { isInstalled, needsDevelopmentPackages } from '../../../scripts/setup/npm.mjs';

/** A copy of the project with the packages that `npm ci --omit=dev` installs, and no others. */

const project = join(import.meta.dirname, '../../..');

interface LockedPackage {
  readonly dev?: boolean;
}

async function installForProduction(root: string): Promise<void> {
  const read = async (path: string) =>
    JSON.parse(await readFile(join(project, path), 'utf8')) as { packages: Record<string, LockedPackage> };
  const wanted = (await read('package-lock.json')).packages;
  const installed = (await read('node_modules/.package-lock.json')).packages;
  const kept = Object.entries(installed).filter(([name]) => wanted[name]?.dev !== true);
  for (const path of ['bin', 'lib', 'template', 'functions', 'package.json', 'package-lock.json', 'stack.yml']) {
    await cp(join(project, path), join(root, path), { recursive: true });
  }
  for (const [name] of kept) {
    await mkdir(join(root, dirname(name)), { recursive: true });
    // Node itself is large; nothing looks for packages from its place.
    if (name.startsWith('node_modules/node-')) await symlink(join(project, name), join(root, name));
    else await cp(join(project, name), join(root, name), { recursive: true, force: false });
  }
  await mkdir(join(root, 'node_modules/.bin'));
  await symlink(join(project, 'node_modules/.bin/node'), join(root, 'node_modules/.bin/node'));
  const record = JSON.stringify({ packages: Object.fromEntries(kept) });
  await exec('tee', [join(root, 'node_modules/.package-lock.json')], { input: record });
}

test('the command works in an installation without development packages', async () => {
  const root = await mkdtemp(join(tmpdir(), 'imagebuilder-production-'));
  try {
    await installForProduction(root);
    const command = join(root, 'bin/imagebuilder');
    // The machine's own Node is out of reach.
    const env = { PATH: '/usr/bin:/bin', HOME: root };
    const { version } = JSON.parse(await readFile(join(project, 'package.json'), 'utf8')) as { version: string };
    assert.is((await exec(command, ['--version'], { env })).stdout.trim(), version);
    // These load everything that they use before they look at their settings.
    const wrong = { ...env, IMAGEBUILDER_LEASE: 'long' };
    for (const words of [['serve'], ['build', '--request', '/dev/null'], ['store', 'check']]) {
      const { stderr } = await exec(command, words, { env: wrong, okExitCodes: [2] });
      assert.match(stderr, /^imagebuilder: .*(IMAGEBUILDER_LEASE|\/dev\/null is not JSON)/, words.join(' '));
    }
    assert.ok(isInstalled(root, { development: false }));
    assert.not.ok(isInstalled(root));
  } finally {
    await rm(root, { recursive: true });
  }
});

test('what runs in production asks for no development packages, and tests do', () => {
  assert.not.ok(needsDevelopmentPackages('bin/imagebuilder.ts'));
  assert.not.ok(needsDevelopmentPackages('quickstart/main.ts'));
  assert.not.ok(needsDevelopmentPackages('packaging/main.ts'));
  assert.not.ok(needsDevelopmentPackages('packaging/charm/main.ts'));
  assert.ok(needsDevelopmentPackages('test/run.ts'));
});

test.run();
