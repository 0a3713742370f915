import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseListed, parsePackages } from '#lib/apt/packages.ts';
import { texts } from '#lib/apt/script.ts';
import { exec } from '#lib/exec.ts';
import { packageManifest } from '#lib/manifest/packages.ts';

/** The command by which Ubuntu and Debian make the manifests of their images. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: the format is dpkg-query's
const published = ['-W', '--showformat=${binary:Package}\t${Version}\n'];

interface Entry {
  readonly name: string;
  readonly version?: string;
  readonly architecture?: string;
  readonly status?: string;
  readonly multiArch?: string;
}

const stanza = ({ name, version, architecture = 'amd64', status = 'install ok installed', multiArch }: Entry) =>
  [
    `Package: ${name}`,
    `Status: ${status}`,
    'Maintainer: Nobody <nobody@example.org>',
    `Architecture: ${architecture}`,
    ...(multiArch === undefined ? [] : [`Multi-Arch: ${multiArch}`]),
    ...(version === undefined ? [] : [`Version: ${version}`]),
    ...(status.endsWith('config-files') ? ['Config-Version: 3', 'Conffiles:', ' /etc/left 0'] : []),
    'Description: none',
    '',
  ].join('\n');

/** Runs the script of images and the publishers' command with a dpkg database of these packages. */
async function readBoth(entries: readonly Entry[] | null) {
  const directory = await mkdtemp(join(tmpdir(), 'dpkg-'));
  try {
    const env: Record<string, string> = { LC_ALL: 'C' };
    if (entries !== null) {
      env.DPKG_ADMINDIR = directory;
      for (const folder of ['info', 'updates', 'triggers']) await mkdir(join(directory, folder));
      await writeFile(join(directory, 'arch'), 'amd64\ni386\n');
      await writeFile(join(directory, 'status'), entries.map((entry) => `${stanza(entry)}\n`).join(''));
    }
    const { stdout: expected } = await exec('dpkg-query', published, { env });
    const lines: string[] = [];
    await exec('sh', ['-c', texts.packages], { env, onLine: (line) => lines.push(line) });
    return { lines, expected, manifest: packageManifest(parseListed(lines)) };
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('the manifest is that of the command that publishers use, byte for byte', async () => {
  const { lines, expected, manifest } = await readBoth([
    { name: 'zlib1g', version: '1:1.3', multiArch: 'same' },
    { name: 'libc6', version: '2.36-9', architecture: 'i386', multiArch: 'same' },
    { name: 'libc6', version: '2.36-9', multiArch: 'same' },
    { name: 'libc6-dev', version: '2.36~rc1' },
    { name: 'libc++', version: '1+b2' },
    { name: 'wine32', version: '8', architecture: 'i386', multiArch: 'foreign' },
    { name: 'python3', version: '3.11', multiArch: 'allowed' },
    { name: 'doc', version: '1', architecture: 'all', multiArch: 'foreign' },
    { name: 'held', version: '1', status: 'hold ok installed' },
    { name: 'left', version: '3', status: 'deinstall ok config-files' },
    { name: 'left-same', version: '3', status: 'deinstall ok config-files', multiArch: 'same' },
    { name: 'never', status: 'unknown ok not-installed' },
    { name: 'half', version: '2', status: 'install ok half-configured' },
  ]);
  assert.is(manifest, expected);
  assert.match(manifest, /^zlib1g:amd64\t1:1\.3$/m);
  assert.match(manifest, /^wine32:i386\t8$/m);
  assert.match(manifest, /^left\t3$/m);
  assert.not.match(manifest, /never/);
  // Packages that left only their configuration files are none for the rest.
  assert.not.ok(parsePackages(lines).some(({ name }) => name.startsWith('left')));
});

test('so it is for the database of a whole machine', async () => {
  const { expected, manifest } = await readBoth(null);
  assert.ok(expected.length > 1000);
  assert.is(manifest, expected);
});

test('an image without packages has an empty manifest', async () => {
  assert.is((await readBoth([])).manifest, '');
});

test.run();
