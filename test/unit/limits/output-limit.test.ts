import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageBuilderError } from '#lib/errors.ts';
import type { GuestScript, GuestSession } from '#lib/guest/guest.ts';
import { limitOutput } from '#lib/limits/output-limit.ts';

/** A session whose every script writes these lines to standard output and to descriptor 3. */
function sessionThatWrites(lines: readonly string[]): GuestSession {
  return {
    kind: 'host',
    network: true,
    mounted: ['/'],
    notMounted: [],
    async run({ onLine, onStatusLine }) {
      for (const line of lines) {
        onLine?.(line, 'stdout');
        onStatusLine?.(line);
      }
      return { stdout: '', stderr: '' };
    },
    close: async () => {},
    async [Symbol.asyncDispose]() {},
  };
}

function collecting(): { readonly script: GuestScript; readonly lines: string[] } {
  const lines: string[] = [];
  return { lines, script: { name: 'script', text: '', onLine: (line) => lines.push(line) } };
}

test('output within the limit passes as it is, and the session stays what it was', async () => {
  const limit = limitOutput(1024);
  const session = limit.around(sessionThatWrites(['one', 'two']));
  const { script, lines } = collecting();
  await session.run(script);
  assert.equal(lines, ['one', 'two']);
  assert.equal(session.mounted, ['/']);
  assert.not(limit.exceeded.aborted);
});

test('the scripts of a build count together, status lines too, and short lines for what they cost', async () => {
  const limit = limitOutput(64 * 10);
  const session = limit.around(sessionThatWrites(['a', 'b']));
  const { script, lines } = collecting();
  for (let run = 1; run <= 3; run += 1) await session.run(script);
  assert.ok(limit.exceeded.aborted);
  const error = limit.exceeded.reason as ImageBuilderError;
  assert.equal([error.code, error.fault], ['guest.limit', 'request']);
  assert.match(error.message, 'IMAGEBUILDER_MAXIMUM_LOG');
  assert.is(lines.length, 5, 'nothing is passed on once it is too much');
});

test('one long line counts whole', async () => {
  const limit = limitOutput(1024);
  await limit.around(sessionThatWrites(['x'.repeat(2000)])).run(collecting().script);
  assert.ok(limit.exceeded.aborted);
});

test.run();
