import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { installError } from '#lib/apt/install.ts';
import { updateError } from '#lib/apt/update-failure.ts';
import { ImageBuilderError, toImageBuilderError } from '#lib/errors.ts';
import { borrowError, scriptError } from '#lib/guest/script-run.ts';

const node = (code: string) => Object.assign(new Error(`${code}: write`), { code });
const script = (stderr: string) =>
  scriptError({ name: 'x', text: '' }, { exitCode: 1, signalName: undefined, timedOut: false, stdout: '', stderr });
const known = { sources: [] };

test('a full disk or quota is the worker’s where the worker writes, and the image’s where the image does', () => {
  for (const [full, other] of [
    ['ENOSPC', 'EIO'],
    ['EDQUOT', 'ENOENT'],
  ] as const) {
    const wrapped = (code: string) => new Error('no luck', { cause: new Error('in between', { cause: node(code) }) });
    assert.equal(
      [node(full), wrapped(full), node(other), wrapped(other)].map((thrown) => toImageBuilderError(thrown).code),
      ['disk.full', 'disk.full', 'internal', 'internal'],
    );
    const own = new ImageBuilderError('store.failed', 'an error that has been decided stays', { cause: node(full) });
    assert.is(toImageBuilderError(own), own);
  }
  for (const words of ['No space left on device', 'Disk quota exceeded']) {
    assert.is(updateError([`E: Write error - write (28: ${words})`], 100, known)?.code, 'disk.full', words);
    const lines = [`cannot copy extracted data for './x' to '/x.dpkg-new': failed to write (${words})`];
    assert.is(installError({ exitCode: 100, lines }, [], known)?.code, 'image.full', words);
    assert.is(script(`cp: error writing '/x': ${words}\n`).code, 'image.full', words);
  }
  assert.is(updateError(['E: Write error - write (5: Input/output error)'], 100, known)?.code, 'apt.repository');
  assert.is(script("cp: error writing '/x': Input/output error\n").code, 'tool.failed');
});

test('an image without room for the files of a build itself gets the advice that helps, without marks of our scripts', () => {
  const stderr =
    "corrupt: in the image, dpkg-divert fails: unable to flush 'diversions-new': No space left on device\n";
  const error = borrowError(script(stderr)) as ImageBuilderError;
  assert.is(error.code, 'image.full');
  assert.match(error.message, /is full before anything is installed; ask for a larger disk with disk_size/);
  assert.not.match(error.message, 'corrupt');
  assert.match(error.logTail.join('\n'), 'No space left on device');
});

test.run();
