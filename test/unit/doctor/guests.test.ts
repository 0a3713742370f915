import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type GuestState, guestFindings, relevantGuests } from '#lib/doctor/guests.ts';

const kernel = { release: '6.1.0-40-cloud-amd64', imagePath: '/boot/vmlinuz-6.1.0-40-cloud-amd64' };
const vm = { usable: true, emulator: 'QEMU 7.2', kernel: kernel.release } as const;
const needsRoot = 'mounting needs root, and this process is not root';
const works = { hindrances: [], unmapped: null };
const asHost = { kind: 'host', accelerator: null, reason: 'the setting says so' } as const;

const stateOf = (changes: Partial<GuestState>): GuestState => ({
  setting: 'auto',
  kvmDevice: { state: 'missing' },
  kernel,
  vm: { ...vm, accelerator: 'tcg', reason: '/dev/kvm cannot be opened' },
  host: { hindrances: [needsRoot], unmapped: null },
  choice: { kind: 'vm', accelerator: 'tcg', reason: 'slow, since /dev/kvm cannot be opened' },
  ...changes,
});
const find = (state: GuestState, what: string) => {
  const finding = guestFindings(state).find((candidate) => candidate.what === what);
  assert.ok(finding, what);
  return finding;
};

test('a pod without KVM may build, and hears what would make it faster', () => {
  const state = stateOf({});
  assert.ok(guestFindings(state).every(({ ok }) => ok));
  assert.match(find(state, 'KVM').todo ?? '', /^let \/dev\/kvm be there .*several times faster$/);
  assert.match(find(state, 'host guest').todo ?? '', `set IMAGEBUILDER_GUEST=host; ${needsRoot}`);
  assert.is(find(state, 'guest').detail, 'builds take the vm guest: slow, since /dev/kvm cannot be opened');
});

test('root without KVM hears that the host guest is faster, what it trusts, and that it must be named', () => {
  const todo = find(stateOf({ host: works }), 'host guest').todo ?? '';
  assert.match(todo, /fastest one, and trusts every base image and package with root.*: set IMAGEBUILDER_GUEST=host$/);
});

test('the doctor says of /dev/kvm whether it is missing, closed, or of no use', () => {
  const closed = stateOf({ kvmDevice: { state: 'refused', group: 111, mode: '660' } });
  assert.match(find(closed, 'KVM').detail, 'it belongs to group 111, mode 660');
  assert.match(find(closed, 'KVM').todo ?? '', '--group-add');
  const broken = '/dev/kvm is there, but no guest starts with it: the vm has ended by itself';
  const useless = stateOf({ kvmDevice: { state: 'usable' }, vm: { ...vm, accelerator: 'tcg', reason: broken } });
  assert.is(find(useless, 'KVM').detail, broken);
  assert.match(find(useless, 'KVM').todo ?? '', 'let guests start with KVM on this machine');
  const untried = stateOf({ kvmDevice: { state: 'usable' }, vm: { usable: false, missing: ['there is no QEMU'] } });
  assert.match(find(untried, 'KVM').detail, 'nothing is here to try it with');
});

test('a machine that is as good as it gets has nothing to do', () => {
  const kvm = { kind: 'vm', accelerator: 'kvm', reason: 'a guest starts with KVM' } as const;
  const withKvm = stateOf({ vm: { ...vm, accelerator: 'kvm', reason: kvm.reason }, choice: kvm });
  for (const state of [withKvm, stateOf({ setting: 'host', host: works, choice: asHost })]) {
    const open = guestFindings(state).filter(({ todo }) => todo !== undefined);
    assert.equal(open, []);
  }
});

test('where no guest can be had it is a fault, and both guests matter', () => {
  const state = stateOf({
    vm: { usable: false, missing: ['the vm has no kernel to run'] },
    kernel: { missing: 'the vm has no kernel to run' },
    choice: { unavailable: 'images cannot be opened on this machine' },
  });
  assert.is(find(state, 'guest').ok, false);
  assert.is(find(state, 'kernel of the vm').packages?.length, 1);
  assert.equal(relevantGuests(state), new Set(['host', 'vm']));
});

test('only what the setting allows matters', () => {
  const unavailable = { unavailable: 'images cannot be opened on this machine' };
  const host = stateOf({ setting: 'host', kernel: { missing: 'there is none' }, choice: unavailable });
  assert.equal([find(host, 'KVM').todo, find(host, 'kernel of the vm').packages], [undefined, undefined]);
  assert.match(find(host, 'host guest').todo ?? '', needsRoot);
  const onlyVm = stateOf({ setting: 'vm', choice: unavailable });
  assert.is(find(onlyVm, 'host guest').todo, undefined);
  assert.equal(relevantGuests(stateOf({ setting: 'host', choice: asHost })), new Set(['host']));
});

test.run();
