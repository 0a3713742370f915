import { dirname } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { loadConfig } from '#lib/config/load.ts';
import type { BaseImage } from '#lib/fetch/base-image.ts';
import { cd } from '#lib/kinds/cd/cd.ts';
import { failure } from '../../../failure.ts';
import { fixture } from '../../../squashfs/fixtures.ts';
import { withFile } from '../../image/temporary.ts';
import { craftIso } from '../../iso9660/craft-iso.ts';

const layer = fixture('xz');

/** Inspects a file as the base image of a request. */
async function inspect(content: Buffer) {
  return await withFile(content, async (path) => {
    const base = { path, sizeBytes: content.length } as BaseImage;
    return await cd.inspect(base, {
      ...{ maximumVirtualBytes: 2 ** 30, outputFormat: 'qcow2', diskBytes: null, workDirectory: dirname(path) },
      ...{ unprivilegedIds: loadConfig({}).tools.unprivilegedIds, signal: new AbortController().signal },
      baseImage: { ...exampleRequest.base_image, image_type: 'cd' },
      ...{ onNotice: () => undefined, onProgress: () => undefined },
    });
  });
}

const medium = (folder: string, name: string, content = layer) => craftIso(folder, { name, content }).bytes;

test('a medium with one SquashFS of live-boot or casper is one, whatever format is asked for', async () => {
  for (const folder of ['live', 'casper']) {
    const { format, size, boot } = await inspect(medium(folder, 'filesystem.squashfs'));
    assert.is(format, 'iso');
    assert.is(boot, null);
    assert.is(size.diskBytes, 2 ** 30);
  }
});

test('others are refused, each with its reason', async () => {
  const cut = layer.subarray(0, layer.length - 100);
  const ext = Buffer.alloc(6144);
  ext.writeUInt16LE(0xef53, 1024 + 0x38);
  const erofs = Buffer.alloc(6144);
  erofs.write('e2e1f5e0', 1024, 'hex');
  const cases: [() => Promise<unknown>, string, RegExp][] = [
    [() => inspect(medium('pool', 'main.deb')), 'image.unsupported', /installs from packages/],
    [() => inspect(medium('casper', 'minimal.txt')), 'image.unsupported', /no layers/],
    [
      () => inspect(medium('live', 'filesystem.ext4', ext)),
      'image.unsupported',
      /an ext2 file system \(\/live\/filesystem\.ext4\); layers can be changed that are SquashFS/,
    ],
    [
      () => inspect(medium('casper', 'filesystem.squashfs', erofs)),
      'image.unsupported',
      /an EROFS file system \(\/casper\/filesystem\.squashfs\); layers can be changed that are SquashFS/,
    ],
    [() => inspect(medium('live', 'filesystem.squashfs', cut)), 'image.truncated', /SquashFS|squashfs/],
    [() => inspect(medium('live', 'filesystem.squashfs', Buffer.alloc(500))), 'image.unsupported', /SquashFS|squashfs/],
    [() => inspect(Buffer.from('a text')), 'image.unsupported', /the image is a text file/],
  ];
  for (const [inspecting, code, message] of cases) {
    const error = await failure(inspecting());
    assert.is(error.code, code, error.message);
    assert.match(error.message, message);
  }
});

test.run();
