import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { debianVersion } from '../../../packaging/deb.ts';
import { dependenciesOn } from '../../../packaging/dependencies.ts';

/** The packages that the Debian package depends on. */

const root = join(import.meta.dirname, '../../..');
const groups = JSON.parse(await readFile(join(root, 'scripts/debian-packages.json'), 'utf8')) as {
  run: string[];
  vm: string[];
};

test('on amd64 they are those of the groups run and vm, but for essential packages', async () => {
  const { depends, recommends } = await dependenciesOn(root, 'amd64');
  assert.equal(
    groups.run.filter((name) => !depends.includes(name)),
    ['perl-base', 'util-linux'],
  );
  assert.equal(recommends, groups.vm);
});

test('on arm64 the vm has its own kernel and emulator', async () => {
  const { depends, recommends } = await dependenciesOn(root, 'arm64');
  assert.equal(depends, (await dependenciesOn(root, 'amd64')).depends);
  assert.ok(recommends.includes('qemu-system-arm'));
  assert.match(recommends.join(), /\blinux-image-cloud-arm64 \| linux-image-arm64 \| /);
  assert.not.match(recommends.join(), /amd64|x86|ovmf/);
});

test('an architecture without a vm is refused', async () => {
  let message = '';
  await dependenciesOn(root, 'riscv64').catch((error: Error) => {
    message = error.message;
  });
  assert.is(message, 'there is no vm for riscv64');
});

test('a version before a release sorts before it in Debian, too', () => {
  assert.is(debianVersion('1.2.3'), '1.2.3');
  assert.is(debianVersion('1.2.3-rc.1'), '1.2.3~rc.1');
  assert.is(debianVersion('1.2.3-rc-1.2'), '1.2.3~rc.1.2');
});

test.run();
