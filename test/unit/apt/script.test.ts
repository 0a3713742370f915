import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { runScript } from '#lib/apt/script.ts';
import type { GuestSession } from '#lib/guest/guest.ts';

const writing = (count: number): GuestSession => ({
  kind: 'host',
  network: true,
  mounted: [],
  notMounted: [],
  async run({ onLine }) {
    for (let line = 1; line <= count; line += 1) onLine?.(`line ${line}`, 'stdout');
    return { stdout: '', stderr: '' };
  },
  close: async () => {},
  async [Symbol.asyncDispose]() {},
});

test('of a script that writes without end the newest lines are kept, in order, and no more than can be', async () => {
  const count = 2_000_000;
  const lines = await runScript(writing(count), 'facts');
  assert.is(lines.at(-1), `line ${count}`);
  assert.is(lines[0], `line ${count - lines.length + 1}`);
  assert.ok(lines.length > 100_000 && lines.length < 600_000, `${lines.length} lines`);
});

test('every line of a script that writes little is there', async () => {
  assert.equal(await runScript(writing(2), 'facts'), ['line 1', 'line 2']);
});

test.run();
