import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseKernels } from '#lib/kinds/cd/choose-kernel.ts';

const had = (version: string) => ({ version, isChanged: false, isNew: false });
const changed = (version: string) => ({ version, isChanged: true, isNew: false });
const added = (version: string) => ({ version, isChanged: true, isNew: true });
const choose = (...words: Parameters<typeof chooseKernels>) => Object.fromEntries(chooseKernels(...words));

const v1 = '6.1.0-18-amd64';

test('a medium with one kernel gets the newest one that the build has brought', () => {
  assert.equal(choose([v1], [had(v1), added('6.1.0-9-amd64'), added('6.1.0-56-amd64')], null), {
    [v1]: '6.1.0-56-amd64',
  });
  assert.equal(choose([null], [added('6.1.0-56-amd64')], null), { null: '6.1.0-56-amd64' });
});

test('a medium gets the kernel that its system calls its own, where that is new', () => {
  const system = [had(v1), added('6.1.0-18-rt-amd64'), added('6.1.0-56-amd64'), added('6.1.0-9-amd64')];
  assert.equal(choose([v1], system, '6.1.0-18-rt-amd64'), { [v1]: '6.1.0-18-rt-amd64' });
  assert.equal(choose(['6.1.0-18-cloud-amd64'], [added(v1)], v1), { '6.1.0-18-cloud-amd64': v1 });
  assert.equal(choose([v1], system, '6.1.0-9-amd64'), { [v1]: '6.1.0-56-amd64' });
  assert.equal(choose([v1], [had(v1), added('6.1.0-56-amd64')], v1), { [v1]: '6.1.0-56-amd64' });
});

test('the same kernel with a new initial ramdisk replaces itself, and no older one replaces it', () => {
  assert.equal(choose([v1], [changed(v1)], v1), { [v1]: v1 });
  assert.equal(choose([v1], [changed('6.1.0-9-amd64'), had(v1)], '6.1.0-9-amd64'), {});
  assert.equal(choose([v1], [added('6.1.0-9-amd64'), had(v1)], v1), {});
});

test('a system without changes, and a medium without kernels, get nothing', () => {
  assert.equal(choose([v1], [had(v1), had('6.1.0-56-amd64')], '6.1.0-56-amd64'), {});
  assert.equal(choose([], [added(v1)], v1), {});
});

test('of several kernels, each is replaced by the next ones of its flavour', () => {
  const usual = '6.8.0-31-generic';
  const newer = '6.11.0-17-generic';
  const medium = [usual, newer];
  const system = [had(usual), had(newer)];
  assert.equal(choose(medium, [...system, added('6.8.0-60-generic')], null), { [usual]: '6.8.0-60-generic' });
  assert.equal(choose(medium, [...system, added('6.11.0-29-generic')], null), { [newer]: '6.11.0-29-generic' });
  assert.equal(choose(medium, [...system, added('6.8.0-60-lowlatency')], '6.8.0-60-lowlatency'), {});
  const both = [...system, added('6.8.0-60-generic'), added('6.11.0-20-generic'), added('6.11.0-29-generic')];
  assert.equal(choose(medium, both, null), { [usual]: '6.8.0-60-generic', [newer]: '6.11.0-29-generic' });
});

test.run();
