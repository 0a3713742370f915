import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planSpace } from '#lib/kinds/cloud/space.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const one = { work: 1, cache: 1, store: 1 };

test('before a download: the base, its changes, and the new image, the base once more where it has to be copied', () => {
  assert.equal(planSpace(one, 0).beforeDownload(300 * MiB), { work: 1324 * MiB, cache: 300 * MiB, store: 0 });
  const apart = planSpace({ work: 1, cache: 2, store: 3 }, 0);
  assert.equal(apart.beforeDownload(300 * MiB), { work: 1624 * MiB, cache: 300 * MiB, store: 812 * MiB });
});

test('the plan of a download of unknown size has only the changes', () => {
  assert.equal(planSpace(one, 0).beforeDownload(null), { work: 1024 * MiB, cache: 0, store: 0 });
});

test('changes have the size that apt reports, with room on top, and never more than that of the disk', () => {
  const base = { fileBytes: 300 * MiB, diskBytes: 10 * GiB, packedBytes: 300 * MiB };
  assert.is(planSpace(one, 0).beforeChange(base, null).work, 1324 * MiB);
  assert.is(planSpace(one, 0).beforeChange(base, 10 * MiB).work, 1324 * MiB);
  assert.is(planSpace(one, 0).beforeChange(base, 2 * GiB).work, 300 * MiB + 6 * GiB);
  assert.is(planSpace(one, 0).beforeChange({ ...base, diskBytes: GiB }, 2 * GiB).work, 300 * MiB + 2 * GiB);
});

test('the room of the guest beside the changes is counted as long as an image is open', () => {
  const base = { fileBytes: 300 * MiB, diskBytes: 10 * GiB, packedBytes: 300 * MiB };
  const [without, plan] = [planSpace(one, 0), planSpace(one, 2 * GiB)];
  assert.is(plan.beforeDownload(MiB).work, without.beforeDownload(MiB).work + 2 * GiB);
  assert.is(plan.beforeChange(base, null).work, without.beforeChange(base, null).work + 2 * GiB);
  assert.equal(plan.beforeRepack(base, MiB), without.beforeRepack(base, MiB));
});

test('an image that is not compressed has room for the data of its disk', () => {
  const base = { fileBytes: 300 * MiB, diskBytes: 10 * GiB, packedBytes: GiB };
  assert.is(planSpace(one, 0).beforeChange(base, null).work, GiB + 1024 * MiB);
  assert.is(planSpace({ ...one, store: 2 }, 0).beforeChange(base, null).store, GiB + 512 * MiB);
});

test('images that go elsewhere take no room in a store’s folder', () => {
  assert.is(planSpace({ ...one, store: null }, 0).beforeUpload(GiB).store, 0);
  assert.is(planSpace({ ...one, store: 2 }, 0).beforeUpload(GiB).store, GiB);
});

test.run();
