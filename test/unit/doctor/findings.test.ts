import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { isTooOld } from '#lib/doctor/broker.ts';
import { todoOf } from '#lib/doctor/diagnose.ts';
import { withinLimit } from '#lib/doctor/finding.ts';
import { type Folder, folderFinding, foldersOf, lookAtFolder } from '#lib/doctor/folders.ts';
import { describeUser } from '#lib/doctor/machine.ts';
import { resourceFindings } from '#lib/doctor/resources.ts';
import { lookAtTools, parseVersion, toolFindings, toolsFor } from '#lib/doctor/tools.ts';

const never = new AbortController().signal;
const GiB = 1024 ** 3;

async function inFolder(action: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-test-'));
  try {
    await action(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('a look that hangs ends at its limit, and its signal is aborted', async () => {
  let told = false;
  const looked = await withinLimit(20, async (signal) => {
    signal.addEventListener('abort', () => {
      told = true;
    });
    return await new Promise<string>(() => {});
  });
  assert.equal(looked, { failure: 'no answer within 0 seconds' });
  assert.ok(told);
});

test('a look that fails says why, whenever it does', async () => {
  assert.equal(await withinLimit(10_000, () => Promise.reject(new Error('it broke'))), { failure: 'it broke' });
  const late = await withinLimit(10, async () => {
    await sleep(30);
    throw new Error('too late to matter');
  });
  assert.equal(late, { failure: 'no answer within 0 seconds' });
  await sleep(40);
});

test('the user is described with the rights that the kernel gives it', () => {
  const status = (capabilities: string, more = '') => `Name:\tnode\nCapEff:\t${capabilities}\n${more}`;
  assert.is(describeUser(0, status('000001ffffffffff')), 'root, with CAP_SYS_ADMIN');
  assert.is(describeUser(0, status('00000000a80425fb')), 'root, without CAP_SYS_ADMIN, so it may not mount');
  assert.is(
    describeUser(12000, status('0000000000000000', 'NoNewPrivs:\t1\nSeccomp:\t2\n')),
    'user 12000, not root, without capabilities, no new privileges, system calls filtered (seccomp)',
  );
});

test('versions are found in what tools say', () => {
  const said = {
    'qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022': '7.2.22',
    'QEMU emulator version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1)': '8.2.2',
    'mount from util-linux 2.38.1 (libmount 2.38.1: selinux)': '2.38.1',
    'BusyBox v1.35.0 (Debian 1:1.35.0-4+b3) multi-call binary.': '1.35.0',
    'apt 2.6.2 (amd64)\nSupported modules:': '2.6.2',
    "Debian 'dpkg-deb' package archive backend version 1.21.22 (amd64).": '1.21.22',
    'gpg (GnuPG) 2.2.40\nlibgcrypt 1.10.1': '2.2.40',
  };
  for (const [output, version] of Object.entries(said)) assert.is(parseVersion(output), version);
  assert.is(parseVersion('nothing of the kind'), null);
});

test('tools are looked for in the path, and those that are missing name their package', async () => {
  await inFolder(async (directory) => {
    await writeFile(join(directory, 'qemu-img'), '#!/bin/sh\necho qemu-img version 99.1\n');
    await chmod(join(directory, 'qemu-img'), 0o755);
    await writeFile(join(directory, 'gpg'), 'not to be run\n');
    await writeFile(join(directory, 'flock'), '#!/bin/sh\nexit 1\n');
    await chmod(join(directory, 'flock'), 0o755);
    const states = await lookAtTools(never, directory);
    assert.is(states.length, toolsFor(workerArchitecture).length);
    const [present, ...missing] = toolFindings(states, new Set(['vm']));
    assert.is(present?.detail, 'flock, qemu-img 99.1');
    const gpg = missing.find(({ what }) => what === 'tool gpg');
    assert.equal(gpg, {
      what: 'tool gpg',
      ok: false,
      detail: 'is not installed (package gpg); every build needs it',
      packages: ['gpg'],
    });
    const mount = missing.find(({ what }) => what === 'tool losetup');
    assert.equal([mount?.ok, mount?.packages], [true, undefined], 'of no use where the host guest is not wanted');
    const busybox = missing.find(({ what }) => what === 'tool busybox');
    assert.equal([busybox?.ok, busybox?.packages], [true, ['busybox-static']]);
  });
});

test('a folder is looked at, or the one it would be made in, and nothing stays there', async () => {
  await inFolder(async (directory) => {
    const state = await lookAtFolder(directory, never);
    assert.is(state.existing, directory);
    assert.is(state.refusal, null);
    assert.ok(state.freeBytes > 0 && state.freeBytes <= state.totalBytes, JSON.stringify(state));
    const odd = join(directory, "it's odd");
    await mkdir(odd);
    assert.is((await lookAtFolder(join(odd, 'not', 'there'), never)).existing, odd);
    assert.equal(await readdir(directory), ["it's odd"]);
    assert.equal(await readdir(odd), []);
  });
});

const folder: Folder = {
  name: 'work',
  path: '/work/here',
  variable: 'IMAGEBUILDER_WORK_DIRECTORY',
  mode: 0o711,
  leastFreeBytes: GiB,
  enoughBytes: 4 * GiB,
};
const state = { existing: '/work/here', freeBytes: 50 * GiB, totalBytes: 100 * GiB, refusal: null };

test('a folder with room is well, with little worth a word, with none a fault', () => {
  assert.equal(folderFinding(folder, state, 0), {
    what: 'work folder',
    ok: true,
    detail: '/work/here: 50.0 GiB of 100.0 GiB free',
  });
  const little = folderFinding(folder, { ...state, freeBytes: 2 * GiB }, 0);
  assert.equal([little.ok, /make room in \/work\/here/.test(little.todo ?? '')], [true, true]);
  const none = folderFinding(folder, { ...state, freeBytes: 0 }, 0);
  assert.is(none.ok, false);
  assert.match(none.detail, '0 bytes of 100.0 GiB free, and builds need 1.0 GiB to begin');
});

test('a folder that cannot be written is a fault that says for whom', () => {
  const refused = folderFinding(folder, { ...state, refusal: 'Permission denied' }, 12_000);
  assert.equal([refused.ok, refused.detail], [false, '/work/here cannot be written: Permission denied']);
  assert.match(refused.todo ?? '', /^let user 12000 write to \/work\/here, or set IMAGEBUILDER_WORK_DIRECTORY/);
  const above = folderFinding(folder, { ...state, existing: '/work', refusal: 'Read-only file system' }, 0);
  assert.match(above.todo ?? '', /^make \/work\/here for user 0/);
});

test('caches that may grow beyond their file system are worth a word', () => {
  const settings = {
    workDirectory: '/w',
    cacheDirectory: '/c',
    storeDirectory: '/s',
    storeReaders: 'owner' as const,
    diskReserveBytes: GiB,
    imageCacheBytes: 90 * GiB,
    finishedCacheBytes: 0,
    layersCacheBytes: 0,
    aptCacheBytes: 20 * GiB,
  };
  const names = (fileStore: boolean) => foldersOf(settings, { fileStore }).map(({ name }) => name);
  assert.equal(names(true), ['work', 'cache', 'store', 'temporary']);
  assert.equal(names(false), ['work', 'cache', 'temporary']);
  const cache = foldersOf(settings, { fileStore: false })[1];
  assert.ok(cache);
  const finding = folderFinding(cache, { ...state, existing: '/c' }, 0);
  assert.is(finding.ok, true);
  assert.match(finding.todo ?? '', 'together they allow 110.0 GiB, more than /c holds');
});

test('too little memory or processors for the vm are worth a word, where builds take the vm', () => {
  const resources = { processors: 8, usableProcessors: 1, memoryBytes: GiB, availableBytes: GiB };
  const settings = { vmCpus: 2, vmMemoryBytes: 0.75 * GiB };
  const todo = (kind: 'host' | 'vm') => resourceFindings(resources, settings, { kind }).map((finding) => finding.todo);
  assert.equal(todo('host'), [undefined, undefined]);
  assert.match(todo('vm')[0] ?? '', 'set IMAGEBUILDER_VM_CPUS to 1');
  assert.match(todo('vm')[1] ?? '', 'lower IMAGEBUILDER_VM_MEMORY');
});

test('RabbitMQ is needed from 3.10 on', () => {
  assert.equal(['3.9.27', '3.10.0', '3.13.7', '4.1.0', '2.8', ''].map(isTooOld), [
    true,
    false,
    false,
    false,
    true,
    false,
  ]);
});

test('advice comes once, urgent advice first, packages in one command', () => {
  assert.equal(
    todoOf([
      { what: 'a', ok: true, detail: '', todo: 'later' },
      { what: 'b', ok: true, detail: '', packages: ['fuse3', 'mount'] },
      { what: 'c', ok: false, detail: '', todo: 'now' },
      { what: 'd', ok: false, detail: '', todo: 'now', packages: ['gnupg', 'mount'] },
    ]),
    ['apt-get install --no-install-recommends gnupg mount fuse3', 'now', 'later'],
  );
  assert.equal(todoOf([{ what: 'a', ok: true, detail: '' }]), []);
});

test.run();
