import { tmpdir } from 'node:os';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { type ChooseGuestOptions, chooseGuest } from '#lib/guest/choose.ts';
import type { VmProbe } from '#lib/guest/vm/probe.ts';
import { createLog } from '#lib/log.ts';

const vm = (accelerator: 'kvm' | 'tcg', reason: string): VmProbe => ({
  usable: true,
  accelerator,
  reason,
  emulator: 'QEMU 7.2',
  kernel: '6.1.0',
});
const kvm = vm('kvm', 'a guest starts with KVM');
const emulated = vm('tcg', '/dev/kvm cannot be opened');
const noVm: VmProbe = { usable: false, missing: ['there is no kernel'] };

/** Makes the choice where the guests are found like this; also returns which of them were looked for. */
async function choose(setting: ChooseGuestOptions['setting'], found: VmProbe, hindrances: readonly string[] = []) {
  const { folders, guest, tools } = loadConfig({});
  const settings = { ...folders, ...guest, ...tools };
  const tried: string[] = [];
  const chosen = await chooseGuest({
    setting,
    directory: tmpdir(),
    vm: settings,
    host: settings,
    log: createLog({ level: 'error' }),
    probes: {
      vm: async () => {
        tried.push('vm');
        return found;
      },
      host: async () => {
        tried.push('host');
        return { hindrances, unmapped: null };
      },
    },
  });
  return { kind: chosen.guest.kind, accelerator: chosen.accelerator, reason: chosen.reason, tried };
}

test('by itself a worker takes the vm, emulated without KVM, also where root could mount images', async () => {
  const tried = ['vm'];
  assert.equal(await choose('auto', kvm), { kind: 'vm', accelerator: 'kvm', reason: 'a guest starts with KVM', tried });
  const slow = 'slow, since /dev/kvm cannot be opened';
  assert.equal(await choose('auto', emulated), { kind: 'vm', accelerator: 'tcg', reason: slow, tried });
  const named = { kind: 'vm', accelerator: 'tcg', reason: `the setting says so; ${slow}`, tried };
  assert.equal(await choose('vm', emulated), named);
});

test('the host guest is taken where it is named, and says what it trusts', async () => {
  const { kind, reason, tried } = await choose('host', kvm);
  assert.equal([kind, tried], ['host', ['host']]);
  assert.match(reason, 'base images and packages are trusted, as root on this machine');
});

test('a machine that cannot open images says what is missing, and takes no other guest than the one meant', async () => {
  for (const [setting, found, hindrances, message] of [
    ['auto', noVm, [], /for the guest vm, there is no kernel; the guest host is taken only where IMAGEBUILDER_GUEST/],
    ['vm', noVm, [], /for the guest vm, there is no kernel$/],
    ['host', kvm, ['there is no FUSE'], /for the guest host, there is no FUSE$/],
  ] as const) {
    const error: unknown = await choose(setting, found, hindrances).catch((thrown: unknown) => thrown);
    assert.instance(error, ImageBuilderError);
    assert.is((error as ImageBuilderError).code, 'guest.unavailable');
    assert.match((error as Error).message, message);
  }
});

test.run();
