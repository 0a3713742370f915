import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { bootImage } from '../../lab/images/boot.ts';
import { changeImage } from '../system/base-session.ts';
import { openGuestBuilds } from '../system/guest-builds.ts';

test('a server of SSH that is installed in an image without cloud-init runs after the first boot', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'first-boot-'));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const text = 'dpkg --purge cloud-init openssh-server; rm -f /etc/ssh/ssh_host_*';
  const change = (path: string) => changeImage(path, directory, text);
  const builds = stack.use(await openGuestBuilds('plain', [], change));
  const { path } = await builds.build('host', ['openssh-server']);
  await bootImage({ path, until: /Started .*ssh\.service/ });
});

test.run();
