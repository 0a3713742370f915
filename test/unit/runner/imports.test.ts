import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dependentsOf } from '../../runner/imports.ts';

test('a changed file concerns itself and all that import it, directly or not', () => {
  const graph = new Map([
    ['a.ts', ['b.ts']],
    ['b.ts', ['c.ts', 'd.ts']],
    ['c.ts', ['b.ts']],
    ['d.ts', []],
    ['e.ts', ['gone.ts']],
  ]);
  assert.equal([...dependentsOf(graph, ['d.ts'])].sort(), ['a.ts', 'b.ts', 'c.ts', 'd.ts']);
  assert.equal([...dependentsOf(graph, ['a.ts'])], ['a.ts']);
  assert.equal([...dependentsOf(graph, ['e.ts', 'gone.ts'])], ['e.ts']);
});

test.run();
