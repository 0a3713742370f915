import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bootImage } from '../../lab/images/boot.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { startService } from './service.ts';

test('in an image whose /boot is a partition of its own a new kernel lands there, and boots', async () => {
  // The first entry of the boot menu's submenu that is not of the kernel which the base came with.
  const files = { '/etc/default/grub.d/99-new-kernel.cfg': 'GRUB_DEFAULT="1>2"\n' };
  await using service = await startService({
    ppas: (series) => [
      { owner: 'project', name: 'ppaname', series: [series], packages: [{ name: 'boots-new-kernel', files }] },
    ],
    variant: 'separate-boot',
  });
  const before = await observe(service.workDirectory);
  const build = await service.build(service.request({ package_list: ['boots-new-kernel', 'linux-image-amd64'] }));
  assert.is(build.state, 'completed', build.error?.message);
  await assertNothingLeft(before);
  const kernel = build.image?.packages
    ?.map(({ name }) => name)
    .find((name) => /^linux-image-\d.*-amd64$/.test(name))
    ?.replace('linux-image-', '');
  const console = await bootImage({
    path: fileURLToPath(build.image?.location ?? ''),
    until: /imagebuilder-boot-done/,
    command: 'uname -r; mountpoint /boot; umount -R /boot; echo hidden: $(ls /boot); echo imagebuilder-boot-done',
  });
  assert.ok(kernel !== undefined && console.split(/\r?\n/).includes(kernel), `boots ${kernel}`);
  assert.match(console, '/boot is a mountpoint');
  assert.match(console, /hidden:\s*$/m, 'nothing was written under the mount point');
});

test.run();
