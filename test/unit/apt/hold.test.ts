import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertHoldable } from '#lib/apt/hold.ts';
import { ImageBuilderError } from '#lib/errors.ts';

test('only packages that the image will have can be held, and the error names all others', () => {
  const facts = {
    packages: ['bash', 'foe'].map((name) => ({
      name,
      architecture: 'amd64',
      version: '1',
      state: 'installed' as const,
    })),
  };
  const plan = { install: ['hello', 'libc6:i386'], remove: ['foe'] };
  assertHoldable(['bash', 'hello', 'libc6:i386'], facts, plan);
  try {
    assertHoldable(['bash', 'foe', 'ghost:i386'], facts, plan);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    const { code, faults } = error as ImageBuilderError;
    assert.is(code, 'apt.package');
    assert.equal(
      faults.map(({ path }) => path),
      ['$.hold_packages[1]', '$.hold_packages[2]'],
    );
  }
});

test.run();
