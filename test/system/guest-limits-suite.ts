import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageBuilderError } from '#lib/errors.ts';
import type { Guest, GuestSession } from '#lib/guest/guest.ts';
import { assertCode, failure, type GuestTests } from './guest-disk.ts';
import type { TestImage } from './guest-image.ts';

/** The tests of the limits on all processes of an image, for any guest. */

export interface LimitedGuest {
  readonly tests: GuestTests;
  readonly image: TestImage;
  /** A guest of few processes, 64, and little memory. */
  readonly guest: Guest;
  readonly memoryMessage: RegExp;
}

/** Doubles a shell variable for ever. */
export const devour = 'x=0123456789abcdef; while :; do x="$x$x"; done';

function assertLimit(error: unknown, message: RegExp): void {
  assertCode(error, 'guest.limit', message);
  assert.is((error as ImageBuilderError).fault, 'request');
}

export function testLimits({ tests, image, guest, memoryMessage }: LimitedGuest): void {
  const inGuest = async (body: (session: GuestSession) => Promise<void>) =>
    await tests.withDisk(image, async (disk) => {
      await using session = await disk.open({}, guest);
      await body(session);
    });

  test('a script that takes all the memory ends with the limit named', async () => {
    await inGuest(async (session) => {
      assertLimit(await failure(session.run({ name: 'hungry', text: devour })), memoryMessage);
      assertLimit(await failure(session.close()), memoryMessage);
    });
  });

  test('a process killed for its memory fails the script that goes on and ends well, without waiting for its end', async () => {
    for (const end of ['exit 0', 'sleep 600']) {
      await inGuest(async (session) => {
        const error = await failure(session.run({ name: 'hungry', text: `sh -c '${devour}'; ${end}` }));
        assertLimit(error, memoryMessage);
      });
    }
  });

  test('a fork bomb ends its script with the limit named', async () => {
    await inGuest(async (session) => {
      const error = await failure(session.run({ name: 'fork', text: 'bomb() { bomb | bomb & }; bomb; sleep 600' }));
      assertLimit(error, /more processes than the 64 that IMAGEBUILDER_GUEST_PROCESSES allows/);
    });
  });
}
