import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { RootArchive } from '#lib/tar/root-archive.ts';
import { enabledLink } from '../system/service-package.ts';
import { assertChanged, listed, openTouchBuilds } from '../system/touch-builds.ts';
import { assertUnpacks } from '../tar/unpack.ts';

/** A root file system for arm64 with systemd, as Ubuntu Touch is today. */

test('an archive with systemd gets packages by both guests, none of whose services starts', async () => {
  await using builds = await openTouchBuilds({ architecture: 'arm64', init: 'systemd' });
  const results: RootArchive[] = [];
  for (const guest of ['host', 'vm'] as const) {
    const { path, image } = await builds.build(guest, ['touch-sample', 'eager-service', 'nginx-light']);
    const names = image.packages?.map(({ name }) => name) ?? [];
    assert.ok(
      ['touch-sample', 'eager-service', 'nginx-light'].every((name) => names.includes(name)),
      names.join(' '),
    );
    const result = await assertChanged(builds, path);
    assert.is(result.entries.get(enabledLink.slice(1))?.type, 'symlink');
    results.push(result);
    await assertUnpacks(`${path}.tar`, guest === 'host' ? 'tar' : 'busybox');
  }
  const [host, vm] = results as [RootArchive, RootArchive];
  assert.equal(listed(vm), listed(host));
});

test.run();
