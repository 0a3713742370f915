import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { collectPackages } from '#lib/apt/collect-packages.ts';
import type { ScriptRunner } from '#lib/guest/guest.ts';

const noScript: ScriptRunner = {
  run: () => Promise.reject(new Error('a script would have to run')),
};
const line = (name: string, version = '1') => `${name}\tamd64\t${version}\tii \t${name}\tsource\t${version}`;

const collect = (lines: readonly string[]) => {
  const collector = collectPackages();
  const others = lines.filter((each) => !collector.take(each));
  return { others, names: async () => (await collector.list(noScript)).listed.map(({ name }) => name) };
};

test('a list on the status lines is taken without another script, and all other lines are left', async () => {
  const { others, names } = collect([
    'pmstatus:a:50:x',
    'exit:0',
    'packages:',
    line('a'),
    line('b'),
    'listed:',
    'last',
  ]);
  assert.equal(others, ['pmstatus:a:50:x', 'exit:0', 'last']);
  assert.equal(await names(), ['a', 'b']);
});

test('the last of several lists counts', async () => {
  const { names } = collect(['packages:', line('false'), 'listed:', 'packages:', line('true'), 'listed:']);
  assert.equal(await names(), ['true']);
});

test('where no list has come whole, or it is too long, a script reads it', async () => {
  const long = line('a', '1'.repeat(2 ** 20));
  for (const lines of [[], ['packages:', line('a')], ['packages:', ...Array(17).fill(long), 'listed:']]) {
    await collect(lines)
      .names()
      .then(
        () => assert.unreachable(),
        ({ message }: Error) => assert.match(message, 'a script would have to run'),
      );
  }
});

test.run();
