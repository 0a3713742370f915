import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { withVmForForeign } from '#lib/guest/foreign.ts';
import type { Guest, GuestDisk, GuestSession } from '#lib/guest/guest.ts';

const place = { overlayPath: '/o', workDirectory: '/w', buildId: 'b' };
const base = { path: '/b', format: 'raw' } as const;
const diskFor = (architecture: string): GuestDisk => ({ ...place, base, partitions: [], architecture });
const foreign = workerArchitecture === 's390x' ? 'amd64' : 's390x';

function guest(kind: Guest['kind'], opens: Partial<GuestSession> | Error): Guest {
  const open = async () => {
    if (opens instanceof Error) throw opens;
    return { kind, ...opens } as GuestSession;
  };
  return { kind, scratchBytes: kind === 'vm' ? 5 : 0, open };
}

async function openBy(hostOpens: Partial<GuestSession> | Error, architecture: string) {
  const notices: string[] = [];
  const both = withVmForForeign(guest('host', hostOpens), guest('vm', {}));
  const options = { signal: new AbortController().signal, binds: [], onNotice: (text: string) => notices.push(text) };
  await using prepared = await both.prepare?.(place, options.signal);
  const opened = await (prepared ?? both).open(diskFor(architecture), options).then(
    ({ kind }) => kind,
    (error: Error) => error.message,
  );
  return { opened, notices };
}

const unavailable = new ImageBuilderError('guest.unavailable', 'no emulator');

test('an image whose programs the host guest cannot run is opened by a vm, and users hear why', async () => {
  assert.equal(await openBy(unavailable, foreign), {
    opened: 'vm',
    notices: ['no emulator; a vm does, which is slower'],
  });
});

test('other images, and other errors, stay with the host guest', async () => {
  assert.equal(await openBy({}, foreign), { opened: 'host', notices: [] });
  assert.equal(await openBy(unavailable, workerArchitecture), { opened: 'no emulator', notices: [] });
  assert.equal(await openBy(new Error('other'), foreign), { opened: 'other', notices: [] });
});

test.run();
