import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { secretFiles } from '#lib/config/secrets.ts';
import { hashFile } from '#lib/image/digest.ts';
import { bootImage } from '../../lab/images/boot.ts';
import { startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { startService } from '../system/service.ts';

/** The layout that `test/system/build.test.ts` does not boot, and an image as a cloud gets it from Glance. */

test('in an image whose /boot is a partition of its own a new kernel lands there, and what Glance hands out boots with it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'boot-'));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const cloud = stack.use(await startOpenStack({ services: ['glance'] }));
  const { OS_PASSWORD: password = '', ...variables } = cloud.environment;
  const secrets = join(directory, 'secrets');
  await mkdir(secrets);
  await writeFile(join(secrets, secretFiles.openstackPassword.file), password);
  // The first entry of the boot menu's submenu that is not of the kernel which the base came with.
  const files = { '/etc/default/grub.d/99-new-kernel.cfg': 'GRUB_DEFAULT="1>2"\n' };
  const service = stack.use(
    await startService({
      ppas: (series) => [
        { owner: 'project', name: 'ppaname', series: [series], packages: [{ name: 'boots-new-kernel', files }] },
      ],
      variant: 'separate-boot',
      settings: { ...variables, IMAGEBUILDER_SECRETS_DIRECTORY: secrets },
    }),
  );
  const { state, error, image } = await service.build(
    service.request({ package_list: ['boots-new-kernel', 'linux-image-amd64'] }),
  );
  assert.is(state, 'completed', error?.message);
  assert.ok(image);
  const path = join(directory, 'from-glance.qcow2');
  await cloud.command(['image', 'save', '--file', path, image.id]);
  assert.equal((await hashFile(path)).checksums, image.checksums);

  const kernel = image.packages
    ?.map(({ name }) => name)
    .find((name) => /^linux-image-\d.*-amd64$/.test(name))
    ?.replace('linux-image-', '');
  const console = await bootImage({
    path,
    until: /imagebuilder-boot-done/,
    command:
      'echo "kernel: $(uname -r)"; mountpoint /boot; umount -R /boot; echo hidden: $(ls /boot); echo imagebuilder-boot-done',
  });
  assert.ok(kernel !== undefined);
  assert.match(console, `kernel: ${kernel}\n`); // the prompt of the login may come right before it
  assert.match(console, '/boot is a mountpoint');
  assert.match(console, /hidden:\s*$/m, 'nothing was written under the mount point');
});

test.run();
