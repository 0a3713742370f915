import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { borrowError, scriptError } from '#lib/guest/script-run.ts';

const failed = (stderr: string): ImageBuilderError => {
  const end = { exitCode: 1, signalName: undefined, timedOut: false, stdout: '', stderr };
  const error = borrowError(scriptError({ name: 'borrow', text: '' }, end));
  assert.instance(error, ImageBuilderError);
  return error as ImageBuilderError;
};

test('a file that the image keeps from changes is named, with the command that ends that', () => {
  const policy = '/usr/sbin/policy-rc.d';
  const moving = failed(`mv: cannot move '${policy}' to '${policy}.imagebuilder': Operation not permitted\n`);
  assert.is(moving.code, 'image.unsupported');
  assert.match(moving.message, /'\/usr\/sbin\/policy-rc\.d' .* not permitted; the file or its folder .*chattr -i/);
  const diverting = failed('corrupt: in the image, dpkg-divert fails: rename: Operation not permitted\n');
  assert.is(diverting.code, 'image.corrupt');
  assert.match(diverting.message, 'chattr -i');
});

test('other reasons get no such advice', () => {
  const error = failed("mv: cannot move '/a' to '/b': Read-only file system\n");
  assert.not.match(error.message, 'chattr');
  assert.match(error.message, 'cannot be made ready for changes');
});

test.run();
