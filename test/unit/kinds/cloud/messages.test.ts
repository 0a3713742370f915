import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { cloud } from '#lib/kinds/cloud/cloud.ts';
import { failure } from '../../../failure.ts';
import { foreignFiles } from '../../image/foreign-files.ts';
import { temporaryFolder } from '../../image/temporary.ts';
import { testWith } from '../../with-programs.ts';

/** Errors of base images go to callers, whom the folders of the worker do not concern. */

const { unprivilegedIds } = loadConfig({}).tools;
const { signal } = new AbortController();

testWith('qemu-img')(
  'no error of a base image, and no log with it, has a path of the worker or a name by a descriptor',
  async () => {
    await using folder = await temporaryFolder();
    const workDirectory = folder.file('work-directory');
    await mkdir(workDirectory);
    const path = join(workDirectory, 'base-image');
    await exec('qemu-img', ['create', '-q', '-f', 'vmdk', folder.file('vmdk'), '8M']);
    await exec('qemu-img', ['create', '-q', '-f', 'vdi', folder.file('vdi'), '8M']);
    const damage = `for name in vmdk vdi; do head -c 600 $name > cut.$name; head -c 40000 /dev/urandom >> cut.$name; done`;
    await exec('sh', ['-euc', `cd ${folder.path}; ${damage}`]);
    const files = Object.entries(foreignFiles).map(([name, { content }]) => [name, content] as const);
    const cut = await Promise.all(
      ['vmdk', 'vdi'].map(async (name) => [name, await readFile(folder.file(`cut.${name}`))] as const),
    );
    for (const [name, content] of [...files, ...cut]) {
      await writeFile(path, content);
      const inspecting = cloud.inspect(
        {
          ...{ path, url: 'http://x/image', sizeBytes: content.length, sha256: '0'.repeat(64), fromCache: false },
          ...{ verifiedBy: 'unverified', checksumsUrl: null, checksumAlgorithms: [], signedBy: null, isSound: false },
        },
        {
          ...{
            workDirectory,
            maximumVirtualBytes: 2 ** 30,
            unprivilegedIds,
            outputFormat: 'qcow2',
            diskBytes: null,
            signal,
          },
          baseImage: exampleRequest.base_image,
          ...{ onNotice: () => undefined, onProgress: () => undefined },
        },
      );
      const { code, message, logTail } = await failure(inspecting);
      assert.match(code, /^image\./, `${name}: ${message}`);
      const text = [message, ...logTail].join('\n');
      for (const part of [folder.path, 'work-directory', '/proc/']) assert.not.match(text, part, name);
    }
  },
);

test.run();
