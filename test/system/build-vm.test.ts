import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hashFile } from '#lib/image/digest.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { leftInWorkDirectory, startService } from './service.ts';

test('a whole build in a vm, its packages resolved outside, ends like one on the host', async () => {
  await using service = await startService({
    ppas: (series) => [
      {
        owner: 'project',
        name: 'ppaname',
        series: [series],
        packages: [
          { name: 'libfoo', version: '1.4.2-1' },
          { name: 'baz-utils', version: '2.0-3', fields: { Depends: 'libfoo (>= 1.4), jq' } },
        ],
      },
    ],
    settings: { IMAGEBUILDER_GUEST: 'vm' },
  });
  const before = await observe(service.workDirectory);
  const build = await service.build(service.request());
  assert.is(build.state, 'completed', `${build.error?.message}\n${build.error?.log_tail?.join('\n')}`);
  const packages = new Map(build.image?.packages?.map(({ name, version }) => [name, version]));
  assert.equal([packages.get('libfoo'), packages.get('baz-utils')], ['1.4.2-1', '2.0-3']);
  assert.ok(packages.has('jq'), 'a dependency from the archive');
  const { checksums } = await hashFile(fileURLToPath(build.image?.location ?? ''));
  assert.equal(checksums, build.image?.checksums);

  const missing = await service.build(service.request({ package_list: ['no-such-package', 'nor-this-one'] }));
  assert.is(missing.error?.code, 'apt.package', missing.error?.message);
  assert.match(missing.error?.message ?? '', 'no-such-package');
  assert.match(missing.error?.message ?? '', 'nor-this-one');
  await assertNothingLeft(before);
  assert.equal(await leftInWorkDirectory(service), []);
});

test.run();
