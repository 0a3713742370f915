import { randomUUID } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { filePathOf } from '#lib/store/file/file-path.ts';

test("a build's files have a path in its own folders alone, whatever an event says of them", () => {
  const [own, other, image] = [randomUUID(), randomUUID(), randomUUID()];
  const path = (id: string, name = 'a.log.gz', store: 'file' | 'swift' = 'file') =>
    filePathOf('/store', own, { store, id, name });
  for (const folder of [own, `logs/${own}`, `glance/${own}.${image}`]) {
    assert.is(path(`${folder}/a.log.gz`), `/store/${folder}/a.log.gz`);
  }
  const refused = [
    ...[other, `logs/${other}`, `glance/${other}.${image}`, `glance/${own}.${image}/..`, `glance/${own}.x`],
    ...['', '.', '..', '/', `../${own}`, `${own}/..`, `logs/${own}/x`, `${own}.${image}`, 'glance/'],
  ];
  for (const folder of refused) assert.is(path(`${folder}/a.log.gz`), null, folder);
  for (const name of ['', '.', '..', '../../etc/passwd', '/etc/passwd', `../${other}/a.log.gz`, '.hidden']) {
    assert.is(path(`${own}/${name}`, name), null, name);
  }
  assert.is(path(`${own}/a.log.gz`, 'b.log.gz'), null, 'the name is that of the file');
  assert.is(path(`${own}/a.log.gz`, 'a.log.gz', 'swift'), null);
});

test.run();
