import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeSmallImage } from '../../lab/images/small-image.ts';

/** The guide docs/guides/first-build-from-a-local-file.md, word by word, in a network that is loopback alone. */

const root = join(import.meta.dirname, '..', '..');

test('the guide to a first build needs no internet, and its image has the package', async () => {
  const guide = await readFile(join(root, 'docs/guides/first-build-from-a-local-file.md'), 'utf8');
  const commands = [...guide.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text = '']) => text);
  const base = await makeSmallImage(baseImageCache, (line) => process.stderr.write(`  ${line}\n`));
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-first-build-'));
  try {
    // A fault on the way would leave the guide's server running.
    const stop = "server=''; trap 'kill $server 2>/dev/null || :' EXIT";
    const script = ['set -eu', stop, 'ip link set lo up', ...commands].join('\n');
    const { stdout, stderr } = await exec('unshare', ['--net', '--', 'sh', '-c', script], {
      cwd: directory,
      env: {
        PATH: `${join(root, 'bin')}:/usr/local/bin:/usr/bin:/bin`,
        HOME: directory,
        TMPDIR: directory,
        IMAGE: base.path,
        SERIES: base.codename,
        IMAGEBUILDER_GUEST: 'host',
      },
    });
    assert.match(stdout, /^The image is built$/m, stderr);
    assert.match(stdout, /^ *packages +greeting 1\.0$/m, stdout);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.run();
