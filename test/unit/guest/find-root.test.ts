import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseRoot, findRoot, type Root } from '#lib/guest/find-root.ts';
import { type Evidence, parseLook, type System } from '#lib/guest/look.ts';
import type { Partition } from '#lib/image/partition.ts';

const partition = (number: number, type: 'ext4' | 'btrfs' = 'ext4'): Partition => ({
  ...{ number, offsetBytes: number * 2 ** 20, sizeBytes: 2 ** 20, name: null, partitionUuid: null },
  type: '0fc63daf-8483-4772-8e79-3d69d8477de4',
  fileSystem: { type, label: null, uuid: `uuid-${number}` },
});

function system(evidence: readonly Evidence[], over: Partial<System> = {}): System {
  return {
    ...{ subvolume: null, evidence: new Set(evidence), bad: null, fstab: '', folders: new Map(), machineId: null },
    ...{ units: new Map(), rootFlags: [], mountsByType: true, ...over },
  };
}

const full: readonly Evidence[] = ['etc', 'fstab', 'os-release', 'dpkg'];
const choose = (roots: readonly Root[]) => {
  const { root, why } = chooseRoot(roots, [...new Set(roots.map((each) => each.partition))]);
  return [root?.partition.number ?? null, root?.system.subvolume ?? null, why] as const;
};

test('the only system is the root, whatever the others hold', () => {
  const roots = [
    { partition: partition(1), system: system([]) },
    { partition: partition(2), system: system(['etc', 'os-release']) },
    { partition: partition(3), system: system(['dpkg']) },
  ];
  assert.equal(choose(roots).slice(0, 2), [2, null]);
  assert.equal(choose(roots.slice(0, 1)), [null, null, null]);
});

test('of several systems the one that its own fstab names wins, then the one with the most signs', () => {
  const old = { partition: partition(1), system: system(full, { fstab: 'UUID=uuid-2 / ext4\n' }) };
  const moved = { partition: partition(2), system: system(['etc', 'fstab'], { fstab: 'UUID=uuid-2 / ext4\n' }) };
  assert.equal(choose([old, moved]).slice(0, 2), [2, null]);
  const copyOfEtc = { partition: partition(3), system: system(['etc', 'fstab']) };
  const whole = { partition: partition(4), system: system(full) };
  assert.equal(choose([copyOfEtc, whole]).slice(0, 2), [4, null]);
  assert.match(choose([whole, { ...whole, partition: partition(5) }])[2] ?? '', /partition 4 .* and partition 5 /);
});

test('a subvolume is chosen by the kernel’s command line, its own fstab, the default, and the installers’ names', () => {
  const disk = partition(1, 'btrfs');
  const sub = (subvolume: string | null, over: Partial<System> = {}) => ({
    ...{ partition: disk, system: system(full, { subvolume, ...over }) },
  });
  const own = { fstab: 'UUID=uuid-1 / btrfs noatime,subvol=/old 0 0\n' };
  const boot = { partition: partition(2), system: system([], { rootFlags: ['compress=zstd,subvol=/@new'] }) };
  assert.equal(choose([sub('@'), sub('@new'), sub('old', own), boot]).slice(0, 2), [1, '@new']);
  assert.equal(choose([sub('@'), sub('old', own)]).slice(0, 2), [1, 'old']);
  assert.equal(choose([sub(null), sub('@')]).slice(0, 2), [1, null]);
  assert.equal(choose([sub('snapshot'), sub('@rootfs')]).slice(0, 2), [1, '@rootfs']);
});

test('a likely root that holds no system is given up for one that does, and only looked at otherwise', async () => {
  const likely = { ...partition(1), name: 'root of trees' };
  const other = { ...partition(2), name: 'data' };
  const steps: string[] = [];
  const notices: string[] = [];
  const stage = {
    mount: async ({ number }: Partition, { readOnly }: { readOnly: boolean }) => {
      steps.push(`mount ${number}${readOnly ? ' read-only' : ''}`);
      return [system(number === 2 ? full : [])];
    },
    unmount: async ({ number }: Partition) => void steps.push(`unmount ${number}`),
  };
  const { partition: root } = await findRoot([likely, other], stage, (message) => notices.push(message));
  assert.is(root.number, 2);
  assert.equal(steps, ['mount 1', 'unmount 1', 'mount 2 read-only', 'mount 2']);
  assert.equal(notices, [
    'partition 2 is the root of the image: it alone holds /etc/fstab, os-release, the status of dpkg',
  ]);
});

test('a look at a file system becomes systems, with the units and the fstab of each', () => {
  const output = [
    ...['system ', 'bad /etc in the image is no folder', 'flags subvol=@', 'folder boot full', 'system @', 'has etc'],
    ...['has fstab', 'fstab LABEL=x / ext4', 'fstab ', 'machine-id 0123456789abcdef0123456789abcdef', 'manual'],
    ...['folder boot empty', 'unit srv.mount', 'line [Mount]', 'line What=LABEL=x', '', 'has nonsense'],
  ].join('\n');
  const [top, at] = parseLook(output);
  assert.is(top?.bad, '/etc in the image is no folder');
  assert.equal(top?.rootFlags, ['subvol=@']);
  assert.equal([...(at?.evidence ?? [])], ['etc', 'fstab']);
  assert.is(at?.fstab, 'LABEL=x / ext4\n\n');
  assert.is(at?.machineId, '0123456789abcdef0123456789abcdef');
  assert.equal(at?.folders.get('boot'), 'empty');
  assert.is(at?.units.get('srv.mount'), '\n[Mount]\nWhat=LABEL=x');
  assert.not(at?.mountsByType);
});

test.run();
