import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planSpace } from '#lib/build/space-plan.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const one = { work: 1, cache: 1, store: 1 };

test('before a download: the base, its changes, and the new image, the base once more where it has to be copied', () => {
  assert.equal(planSpace(one).beforeDownload(300 * MiB), { work: 1324 * MiB, cache: 300 * MiB, store: 0 });
  const apart = planSpace({ work: 1, cache: 2, store: 3 });
  assert.equal(apart.beforeDownload(300 * MiB), { work: 1624 * MiB, cache: 300 * MiB, store: 812 * MiB });
});

test('of a download whose size nobody tells only the changes are known', () => {
  assert.equal(planSpace(one).beforeDownload(null), { work: 1024 * MiB, cache: 0, store: 0 });
});

test('changes are what apt tells, with room for what comes on top, and never more than the disk holds', () => {
  const base = { fileBytes: 300 * MiB, diskBytes: 10 * GiB };
  assert.is(planSpace(one).beforeChange(base, null).work, 1324 * MiB);
  assert.is(planSpace(one).beforeChange(base, 10 * MiB).work, 1324 * MiB);
  assert.is(planSpace(one).beforeChange(base, 2 * GiB).work, 300 * MiB + 6 * GiB);
  assert.is(planSpace(one).beforeChange({ ...base, diskBytes: GiB }, 2 * GiB).work, 300 * MiB + 2 * GiB);
});

test('images that go elsewhere take no room in a store’s folder', () => {
  assert.is(planSpace({ ...one, store: null }).beforeUpload(GiB).store, 0);
  assert.is(planSpace({ ...one, store: 2 }).beforeUpload(GiB).store, GiB);
});

test.run();
