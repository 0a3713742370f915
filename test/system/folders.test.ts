import { chmod, chown, lchown, mkdir, mkdtemp, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ownershipFinding } from '#lib/doctor/folders.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { openPrivateFolder } from '#lib/folders/private-folder.ts';
import { storeModes } from '#lib/folders/settings.ts';
import { lock } from '#lib/lock.ts';
import { createLog } from '#lib/log.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import { finishedBuild, quiet } from '../conformance/finished-build.ts';
import { attackFolders, nobody } from './other-user.ts';
import { imagebuilder } from './serve/command.ts';

/** The folders of builds on a machine with another user, `nobody`. build.test.ts attacks those of a real build. */

const variable = 'IMAGEBUILDER_WORK_DIRECTORY';
const log = createLog({ write: () => {} });
let root: string;

test.before.each(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'imagebuilder-folders-')));
  await chmod(root, 0o755);
});
test.after.each(() => rm(root, { recursive: true, force: true }));

async function makeFolder(path: string, { owner = 0, mode = 0o755 } = {}): Promise<string> {
  await mkdir(path);
  await chmod(path, mode);
  await chown(path, owner, owner);
  return path;
}

const openWork = (path: string) => openPrivateFolder({ path, variable, mode: 0o711 }, { log, container: false });

/** The message of the refusal, in which the doctor has to agree. */
async function refusalOf(path: string): Promise<string> {
  const error = await openWork(path).then(
    () => new Error('it was taken'),
    (reason: unknown) => reason,
  );
  assert.instance(error, ImageBuilderError, String(error));
  assert.is((error as ImageBuilderError).code, 'config.invalid');
  const { message } = error as ImageBuilderError;
  const folder = { name: 'work', path, variable, mode: 0o711, leastFreeBytes: 0, enoughBytes: 0 } as const;
  const finding = await ownershipFinding(folder, false);
  assert.is(finding?.ok, false);
  assert.is(`${finding?.detail}. To do: ${finding?.todo}`, message);
  return message;
}

test('in an open folder the other user succeeds with all that the tests let him try', async () => {
  const open = await makeFolder(join(root, 'open'), { mode: 0o777 });
  await writeFile(join(open, 'file'), 'bytes');
  const done = (await attackFolders([open])).map((line) => line.replace(/ \/.*/, ''));
  assert.equal(done, ['listed', 'wrote into', 'locked', 'read', 'locked', 'took']);
});

test('a folder that an earlier version left open is closed, with the lock files in it', async () => {
  const work = await makeFolder(join(root, 'work'));
  await writeFile(join(work, 'lock'), '');
  assert.ok((await attackFolders([work])).includes(`locked ${join(work, 'lock')}`), 'before');
  await openWork(work);
  {
    await using _ = await lock(join(work, 'lock'));
    assert.equal(await attackFolders([work]), []);
  }
  await chmod(work, 0o755);
  assert.equal(await attackFolders([join(work, 'lock')]), [], 'nor a lock file in an open folder');
});

test('a folder of another user is refused, and one below such a folder, and one that his link leads to', async () => {
  const own = await makeFolder(join(root, 'own'), { owner: nobody });
  assert.match(await refusalOf(own), `${own} belongs to user 65534 (nobody) and not to root`);
  assert.match(await refusalOf(join(own, 'work')), `${own} belongs to user 65534 (nobody), who can replace what`);
  await mkdir(join(own, 'work'));
  assert.match(await refusalOf(join(own, 'work')), `${own} belongs to user 65534 (nobody), who can replace what`);

  const real = await makeFolder(join(root, 'real'));
  await symlink(real, join(root, 'link'));
  await openWork(join(root, 'link'));
  await lchown(join(root, 'link'), nobody, nobody);
  assert.match(await refusalOf(join(root, 'link')), `${join(root, 'link')} is a link of user 65534 (nobody)`);
});

test('a folder that a group with other users may write to is refused, one of a group without any is not', async () => {
  const path = await makeFolder(join(root, 'group'), { mode: 0o770 });
  await writeFile(join(path, 'file'), '');
  await openWork(path);
  assert.is((await stat(path)).mode & 0o777, 0o711);
  await chmod(path, 0o770);
  await chown(path, 0, nobody);
  assert.match(await refusalOf(path), `group 65534 may write to ${path}`);
});

test('in a folder where everybody may make some, one that another user was faster to make is refused', async () => {
  const shared = await makeFolder(join(root, 'shared'), { mode: 0o1777 });
  await makeFolder(join(shared, 'work'), { owner: nobody, mode: 0o777 });
  assert.match(await refusalOf(join(shared, 'work')), 'belongs to user 65534 (nobody) and not to root');
});

test('serve does not start with a folder that another user can take, and says what to do', async () => {
  const own = await makeFolder(join(root, 'own'), { owner: nobody });
  const result = await imagebuilder(['serve', '--listen', '127.0.0.1:0'], {
    env: { IMAGEBUILDER_CACHE_DIRECTORY: join(own, 'cache') },
  });
  assert.is(result.exitCode, 2, result.stderr);
  assert.match(result.stderr, `${own} belongs to user 65534 (nobody), who can replace what lies in it`);
  assert.match(result.stderr, 'set IMAGEBUILDER_CACHE_DIRECTORY to a folder that no other user can replace');
});

test('images in the file store are readable for whom the operator says', async () => {
  for (const readers of ['owner', 'group', 'everyone'] as const) {
    const directory = await makeFolder(join(root, readers), { mode: storeModes[readers].folder });
    await chown(directory, 0, nobody);
    const { image, given } = await finishedBuild(root, { bytes: 9, buildId: 'build' });
    await createFileStore(directory, readers).put(...given, quiet);
    const done = await attackFolders([directory]);
    assert.is(done.includes(`read ${join(directory, 'build', image.name)}`), readers !== 'owner', readers);
    assert.is(done.includes(`read ${join(directory, 'build', 'SHA256SUMS')}`), readers !== 'owner', readers);
    assert.not.ok(
      done.some((line) => /^(wrote|may write|took)/.test(line)),
      done.join('\n'),
    );
    assert.is((await stat(join(directory, 'build', image.name))).mode & 0o777, storeModes[readers].file);
  }
});

test.run();
