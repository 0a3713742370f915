import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { secretFiles } from '#lib/config/secrets.ts';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { startService } from '../system/service.ts';

const root = join(import.meta.dirname, '../..');

test('a whole build ends active in Glance, which hands out what was built', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'build-glance-'));
  try {
    await using cloud = await startOpenStack({ services: ['glance'] });
    const { OS_PASSWORD: password = '', ...variables } = cloud.environment;
    const secrets = join(directory, 'secrets');
    await mkdir(secrets);
    await writeFile(join(secrets, secretFiles.openstackPassword.file), password);
    await using service = await startService({
      ppas: (series) => [{ owner: 'project', name: 'ppaname', series: [series], packages: [{ name: 'baz-utils' }] }],
      settings: { ...variables, IMAGEBUILDER_SECRETS_DIRECTORY: secrets },
    });
    const before = await observe(service.workDirectory);
    const build = await service.build(service.request({ package_list: ['baz-utils'] }));
    assert.is(build.state, 'completed', `${build.error?.message}\n${build.error?.log_tail?.join('\n')}`);
    // This cloud has no Swift: files beside the image are on the worker's disk.
    assert.equal(
      build.artifacts?.map(({ store }) => store).filter((store) => store !== 'file'),
      [],
    );
    assert.ok(build.artifacts?.some(({ role }) => role === 'manifest'));
    assert.ok(build.artifacts?.some(({ role }) => role === 'log'));
    await assertNothingLeft(before);
    const { image } = build;
    assert.ok(image);
    assert.equal([image.store, image.region], ['glance', cloud.region]);
    assert.is(image.location, `${cloud.glanceUrl}/v2/images/${image.id}`);

    const shown = JSON.parse((await cloud.command(['image', 'show', '--format', 'json', image.id])).stdout);
    assert.equal([shown.status, shown.size, shown.disk_format], ['active', image.size, 'qcow2']);
    assert.is(shown.properties.os_hash_value, image.checksums.sha512);
    assert.is(shown.properties.imagebuilder_build_id, build.build_id);

    const path = join(directory, 'from-glance.qcow2');
    await cloud.command(['image', 'save', '--file', path, image.id]);
    assert.equal((await hashFile(path)).checksums, image.checksums);

    // The list is that of Glance alone, although images of other kinds would go to Swift.
    const env = { ...cloud.environment, IMAGEBUILDER_URL: service.url };
    const images = async (...words: string[]) =>
      (await exec(process.execPath, [join(root, 'bin/imagebuilder.ts'), 'images', ...words], { env })).stdout;
    const listed = JSON.parse(await images('--json')).images;
    assert.equal([listed.length, listed[0].build_id, listed[0].image.id], [1, build.build_id, image.id]);
    const to = join(directory, 'downloads');
    const paths = (await images('download', build.build_id, '--to', to)).trimEnd().split('\n');
    assert.is(paths.length, 1 + (build.artifacts?.length ?? 0));
    assert.equal((await hashFile(join(to, image.name))).checksums, image.checksums);
    // Somebody deletes the image in Glance itself.
    await cloud.command(['image', 'delete', image.id]);
    const shownBuild = JSON.parse(await images('show', build.build_id, '--json'));
    const { state, image: missing, artifacts } = shownBuild;
    assert.equal([state, missing, artifacts.length], ['image_missing', null, build.artifacts?.length]);
    assert.equal(JSON.parse(await images('--json')).images, [shownBuild]);
    assert.match(await images(), /\(missing\)/);
    for (const { name, size } of artifacts) {
      const response = await fetch(`${service.url}/api/v1/images/${build.build_id}/files/${name}`);
      assert.equal([response.status, (await response.arrayBuffer()).byteLength], [200, size], name);
    }
    await images('delete', build.build_id);
    assert.equal((await readdir(join(service.directory, 'store'), { recursive: true })).sort(), ['glance', 'logs']);
    assert.equal(JSON.parse(await images('--json')).images, []);
    assert.is((await cloud.command(['image', 'list', '--format', 'value'])).stdout, '');
    assert.not.match(await service.log(), password);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
