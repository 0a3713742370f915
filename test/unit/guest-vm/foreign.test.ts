import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { vmArchitecture } from '#lib/guest/vm/foreign.ts';

test('programs that the worker runs get a vm of its own architecture', () => {
  assert.is(vmArchitecture(workerArchitecture), workerArchitecture);
  if (workerArchitecture === 'amd64') assert.is(vmArchitecture('i386'), 'amd64');
});

test('others get one that runs them, 32-bit Arm that of the 64-bit one', () => {
  assert.is(vmArchitecture('arm64'), 'arm64');
  assert.is(vmArchitecture('armhf'), 'arm64');
  assert.is(vmArchitecture('amd64'), 'amd64');
});

test('an architecture without a vm is the fault of the image', () => {
  assert.throws(
    () => vmArchitecture('s390x'),
    (error: { code?: string; message: string }) => error.code === 'image.unsupported' && /s390x/.test(error.message),
  );
});

test.run();
