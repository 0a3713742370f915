import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import type { ImageKind } from '#lib/kinds/kind.ts';
import { wantedDiskBytes } from '#lib/pipeline/disk-size.ts';

const GiB = 2 ** 30;

for (const [type, kind] of Object.entries<ImageKind>(imageKinds)) {
  test(`${type}: a size of the disk is taken by disks alone, before anything is fetched`, () => {
    const base_image = { ...exampleRequest.base_image, image_type: type };
    const wanted = (disk_size?: string) =>
      wantedDiskBytes(parseBuildRequest({ ...exampleRequest, base_image, disk_size }), kind, 20 * GiB);
    assert.is(wanted(), null);
    if (kind.isDisk) {
      assert.is(wanted('20GiB'), 20 * GiB);
      assert.throws(() => wanted('21GiB'), /IMAGEBUILDER_MAXIMUM_VIRTUAL_SIZE allows/);
    } else {
      assert.throws(() => wanted('20GiB'), /^.*disk_size is for disks, and an image of the type (?:cd|touch) is none/);
    }
  });
}

test('disks are cloud images only', () => {
  const disks = Object.entries<ImageKind>(imageKinds).flatMap(([type, { isDisk }]) => (isDisk ? [type] : []));
  assert.equal(disks, ['cloud']);
});

test.run();
