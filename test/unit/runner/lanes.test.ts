import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { alone, longest, planLanes } from '../../runner/lanes.ts';

const root = join(import.meta.dirname, '../../..');

test('every file that has a place of its own in the order is there', () => {
  for (const file of [...alone, ...longest]) assert.ok(existsSync(join(root, file)), file);
});

test('the longest files begin first, and those that run alone come after all others', () => {
  const [lonely = ''] = alone;
  const [second = '', third = ''] = longest.slice(1);
  assert.equal(planLanes(['test/system/a.test.ts', lonely, third, 'test/system/z.test.ts', second]), {
    sideBySide: [second, third, 'test/system/a.test.ts', 'test/system/z.test.ts'],
    oneByOne: [lonely],
  });
});

test.run();
