import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { beforeChange, sealImage, sealWarnings } from '#lib/guest/seal.ts';
import { minimalSystem, openChroot } from './apt/chroot.ts';

/** The cleaning up of an image whose owner keeps files from being changed (chattr(1)). */

test('logs and folders of which nothing may be removed stay as the build has left them, with warnings', async () => {
  await using chroot = await openChroot((await minimalSystem()).tar);
  const logs = join(chroot.root, 'var/log');
  await mkdir(join(logs, 'apt'), { recursive: true });
  for (const name of ['kept.log', 'other.log']) await writeFile(join(logs, name), 'old\n');
  await writeFile(join(logs, 'empty.log'), '');
  const kept = [join(logs, 'kept.log'), join(logs, 'empty.log'), join(logs, 'apt')];
  await exec('chattr', ['+a', ...kept]);
  try {
    const session = chroot.session();
    const pristine = await beforeChange(session, []);
    for (const name of ['kept.log', 'other.log', 'empty.log']) await appendFile(join(logs, name), 'new\n');
    await writeFile(join(logs, 'apt/term.log'), 'new\n');
    const warnings = sealWarnings(await sealImage(session, pristine));
    assert.equal(warnings.map((warning) => warning.replace(/: .*/, '')).sort(), [
      '/var/log/empty.log keeps what the build has written into it',
      '/var/log/kept.log keeps what the build has written into it',
      'a file of the build stays in the image',
    ]);
    assert.match(warnings.join('\n'), 'term.log');
    assert.is(await readFile(join(logs, 'kept.log'), 'utf8'), 'old\nnew\n');
    assert.is(await readFile(join(logs, 'other.log'), 'utf8'), 'old\n');
  } finally {
    await exec('chattr', ['-a', ...kept]);
  }
});

test.run();
