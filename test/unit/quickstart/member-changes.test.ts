import { writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareMembers, describeMembers } from '../../../quickstart/member-changes.ts';
import { craftTar } from '../../tar/craft.ts';
import { temporaryFolder } from '../image/temporary.ts';

test('the quickstart shows which members of an archive were added, changed and removed', async () => {
  await using folder = await temporaryFolder();
  const write = async (name: string, archive: Buffer) => {
    await writeFile(folder.file(name), gzipSync(archive));
    return folder.file(name);
  };
  const file = (name: string, content: string, modified = 1_700_000_000) => ({ name, content, modified });
  const base = await write('base', craftTar(file('a', 'a'), file('b', 'b'), file('c', 'c'), file('d', 'd')));
  const more = Array.from({ length: 10 }, (_, index) => file(`new-${index}`, 'n'));
  const image = await write('image', craftTar(file('a', 'a'), file('b', 'B'), file('d', 'd', 1_700_000_001), ...more));
  const { signal } = new AbortController();
  const changes = await compareMembers(base, image, folder.file('scratch'), signal);
  assert.equal([changes.changed, changes.removed, changes.keptCount], [['b', 'd'], ['c'], 1]);
  assert.equal(describeMembers(changes), [
    'Members of the archive: 10 added, 2 changed, 1 removed; 1 are the same, byte by byte',
    ...Array.from({ length: 8 }, (_, index) => `  + new-${index}`),
    '  + … and 2 more',
    '  ~ b',
    '  ~ d',
    '  - c',
  ]);
});

test.run();
