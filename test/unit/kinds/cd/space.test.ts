import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packedBytesOf, planSpace } from '#lib/kinds/cd/space.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const one = { work: 1, cache: 1, store: 1 };
const base = { fileBytes: GiB, diskBytes: 16 * GiB, packedBytes: GiB };

test('before a download: the base, one copy of it as the new medium, and the changes in each of their forms', () => {
  assert.equal(planSpace(one, 0).beforeDownload(GiB), { work: GiB + 3584 * MiB, cache: GiB, store: 0 });
  const apart = planSpace({ work: 1, cache: 2, store: 3 }, 0);
  assert.equal(apart.beforeDownload(GiB), { work: 2 * GiB + 3584 * MiB, cache: GiB, store: GiB + 512 * MiB });
});

test('changes have the size that apt reports, and never more than the file system for them', () => {
  const work = (growthBytes: number | null, diskBytes = base.diskBytes) =>
    planSpace(one, 0).beforeChange({ ...base, diskBytes }, growthBytes).work;
  assert.is(work(null), GiB + 3584 * MiB);
  assert.is(work(MiB), work(null));
  assert.is(work(2 * GiB), GiB + 7 * 3 * GiB);
  assert.is(work(2 * GiB, GiB), GiB + 7 * GiB);
});

test('a layer that is made compact is there twice for a time, as large as the medium at most', () => {
  assert.equal([packedBytesOf(GiB, false), packedBytesOf(GiB, true)], [GiB, 2 * GiB]);
});

test('the room of the guest beside the changes is counted as long as an image is open', () => {
  const [without, plan] = [planSpace(one, 0), planSpace(one, GiB)];
  assert.is(plan.beforeChange(base, null).work, without.beforeChange(base, null).work + GiB);
  assert.equal(plan.beforeRepack(base, MiB), without.beforeRepack(base, MiB));
  assert.equal(plan.beforeUpload(GiB), { work: 0, cache: 0, store: 0 });
});

test.run();
