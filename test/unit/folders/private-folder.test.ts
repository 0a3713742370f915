import { chmod, mkdir, mkdtemp, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { octal } from '#lib/folders/inspect.ts';
import { makeOwnFolder, openPrivateFolder } from '#lib/folders/private-folder.ts';
import { createLog } from '#lib/log.ts';

let root = '';
test.before.each(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'folders-')));
});
test.after.each(() => rm(root, { recursive: true, force: true }));

const variable = 'IMAGEBUILDER_WORK_DIRECTORY';
const modeOf = async (path: string) => octal((await stat(path)).mode);

/** The log, or the message of the refusal. */
async function open(path: string, { mode = 0o711 as number | 'shared', container = false } = {}): Promise<string> {
  const lines: string[] = [];
  const log = createLog({ write: (line) => void lines.push(line) });
  try {
    await openPrivateFolder({ path, variable, mode }, { log, container });
    return lines.join('');
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    assert.is((error as ImageBuilderError).code, 'config.invalid');
    return (error as ImageBuilderError).message;
  }
}

test('a folder that is missing is made for this user, those above it for all to pass', async () => {
  const path = join(root, 'a', 'b', 'work');
  assert.is(await open(path), '');
  assert.is(await modeOf(path), '0711');
  assert.is(await modeOf(join(root, 'a')), '0755');
});

test('a folder that an earlier version left open is closed, which the log says', async () => {
  const path = join(root, 'work');
  await mkdir(path);
  await chmod(path, 0o2755);
  assert.match(await open(path), /closed a folder to other users.*"mode_before":"02755".*"mode":"0711"/);
  assert.is(await modeOf(path), '02711', 'the group of what is made in it stays');
  assert.is(await open(path), '', 'once');
});

test('a folder that everybody may write to is refused where something lies in it, and closed where nothing does', async () => {
  const path = join(root, 'work');
  await mkdir(path);
  await chmod(path, 0o1777);
  assert.match(await open(path), 'closed a folder to other users');
  assert.is(await modeOf(path), '01711');
  await writeFile(join(path, 'file'), '');
  await chmod(path, 0o777);
  const message = await open(path);
  assert.match(message, `every user may write to ${path} (mode 0777) and may have put something there`);
  assert.match(message, `chmod go-w ${path}`);
  assert.match(message, `set ${variable} to a folder`);
  assert.is(await modeOf(path), '0777', 'nothing is changed');
});

test('a folder below one that everybody may write to is refused, and not made, unless that one is sticky', async () => {
  const open_ = join(root, 'open');
  await mkdir(open_);
  await chmod(open_, 0o777);
  assert.match(await open(join(open_, 'work')), `every user may write to ${open_} (mode 0777) and replace what lies`);
  await stat(join(open_, 'work')).then(
    () => assert.unreachable(),
    () => {},
  );
  assert.match(await open(open_, { mode: 'shared' }), 'every user may write');
  await chmod(open_, 0o1777);
  assert.is(await open(join(open_, 'work')), '');
  assert.is(await open(open_, { mode: 'shared' }), '');
});

test('in a container, which has no other users, the same is only logged', async () => {
  const open_ = join(root, 'open');
  await mkdir(open_);
  await chmod(open_, 0o777);
  assert.match(
    await open(join(open_, 'work'), { container: true }),
    /"level":"info".*cannot be kept safe from other users/,
  );
  assert.is(await modeOf(join(open_, 'work')), '0711');
});

test('the way is followed through links, and what they lead through is looked at too', async () => {
  const open_ = join(root, 'open');
  await mkdir(join(open_, 'real'), { recursive: true });
  await mkdir(join(root, 'links'));
  await symlink('../open/real/../real', join(root, 'links', 'way'));
  await chmod(open_, 0o777);
  assert.match(await open(join(root, 'links', 'way', 'work')), `may write to ${open_}`);
  await chmod(open_, 0o755);
  assert.is(await open(join(root, 'links', 'way', 'work')), '');
  assert.is(await modeOf(join(open_, 'real', 'work')), '0711');
});

test('a file where the folder belongs, and links in a circle, are refused', async () => {
  await writeFile(join(root, 'file'), '');
  assert.match(await open(join(root, 'file')), `${join(root, 'file')} is no folder`);
  assert.match(await open(join(root, 'file', 'work')), `${join(root, 'file')} is no folder`);
  await symlink('circle', join(root, 'circle'));
  assert.match(await open(join(root, 'circle')), 'leads through too many links');
});

test('a folder inside a private one is closed, whichever user made it', async () => {
  const path = join(root, 'images');
  await mkdir(path);
  await chmod(path, 0o755);
  await makeOwnFolder(path);
  assert.is(await modeOf(path), '0700');
  await makeOwnFolder(join(root, 'new'));
  assert.is(await modeOf(join(root, 'new')), '0700');
});

test.run();
