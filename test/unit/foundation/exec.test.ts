import { readdirSync, readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { collectLines, ExecError, exec } from '#lib/exec.ts';

async function failure(running: Promise<unknown>): Promise<ExecError> {
  try {
    await running;
  } catch (error) {
    if (error instanceof ExecError) return error;
    throw error;
  }
  throw new Error('did not fail');
}

function processesWith(text: string): number {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text);
      } catch {
        return false;
      }
    }).length;
}

test('output comes back, and line by line with its stream', async () => {
  const lines: string[] = [];
  const result = await exec('sh', ['-c', 'echo one; echo two >&2; printf three'], {
    onLine: (line, stream) => lines.push(`${stream} ${line}`),
  });
  assert.is(result.stdout, 'one\nthree');
  assert.is(result.stderr, 'two\n');
  assert.equal(lines.sort(), ['stderr two', 'stdout one', 'stdout three']);
});

test('arguments are never read by a shell', async () => {
  const { stdout } = await exec('printf', ['%s', '$(id) ; `id` && id']);
  assert.is(stdout, '$(id) ; `id` && id');
});

test('the environment of the service is not inherited', async () => {
  process.env.EXEC_TEST_SECRET = 'do not leak';
  const { stdout } = await exec('env', [], { env: { EXTRA: 'yes' } });
  assert.not.match(stdout, 'EXEC_TEST_SECRET');
  assert.match(stdout, 'EXTRA=yes');
  assert.match(stdout, 'LC_ALL=C.UTF-8');
});

test('file descriptor 3 carries status lines, with and without input', async () => {
  for (const input of [undefined, 'some input']) {
    const status: string[] = [];
    await exec('sh', ['-c', 'cat; echo dlstatus:1 >&3'], {
      ...(input === undefined ? {} : { input }),
      onStatusLine: (line) => status.push(line),
    });
    assert.equal(status, ['dlstatus:1']);
  }
});

test('standard input is empty without input', async () => {
  assert.is((await exec('cat', [])).stdout, '');
  assert.is((await exec('cat', [], { input: 'given' })).stdout, 'given');
});

test('a failure says the command, how it ended and the last line of its errors', async () => {
  const error = await failure(exec('sh', ['-c', 'echo first >&2; echo the reason >&2; exit 7']));
  assert.is(error.exitCode, 7);
  assert.match(error.message, 'sh failed with exit code 7: the reason');
  assert.equal(error.logTail, ['first', 'the reason']);
});

test('a program that is not there is said to be not installed', async () => {
  const error = await failure(exec('no-such-program-anywhere', []));
  assert.match(error.message, 'no-such-program-anywhere is not installed');
});

test('exit codes can be declared results', async () => {
  assert.is((await exec('sh', ['-c', 'exit 3'], { okExitCodes: [0, 3] })).exitCode, 3);
});

test('time running out kills the whole process group and says so', async () => {
  const marker = `6${process.pid}.25`;
  const error = await failure(exec('sh', ['-c', `sleep ${marker} & sleep ${marker}`], { timeoutMs: 200 }));
  assert.ok(error.timedOut);
  assert.match(error.message, 'ran out of time');
  assert.is(processesWith(marker), 0);
});

test('an abort kills the process group, deaf children too, and its reason is thrown', async () => {
  const marker = `7${process.pid}.25`;
  const abort = new AbortController();
  const running = exec('sh', ['-c', `trap "" TERM; (trap "" TERM; sleep ${marker}; sleep ${marker}) & wait; wait`], {
    signal: abort.signal,
  });
  await sleep(200);
  const reason = new ImageBuilderError('build.cancelled', 'cancelled');
  abort.abort(reason);
  try {
    await running;
    assert.unreachable();
  } catch (error) {
    assert.is(error, reason);
  }
  assert.is(processesWith(marker), 0);
});

test('a signal that is aborted already starts nothing', async () => {
  const reason = new Error('before');
  try {
    await exec('touch', ['/nonexistent/never'], { signal: AbortSignal.abort(reason) });
    assert.unreachable();
  } catch (error) {
    assert.is(error, reason);
  }
});

test('a process that has left the process group does not keep a killed command waiting', async () => {
  let daemon = 0;
  try {
    const script = "setsid sh -c 'echo $$; exec sleep 1000' & wait";
    const error = await failure(
      exec('sh', ['-c', script], {
        timeoutMs: 300,
        onLine: (line) => {
          daemon = Number(line);
        },
      }),
    );
    assert.ok(error.timedOut);
  } finally {
    if (daemon > 0) process.kill(daemon, 'SIGKILL');
  }
});

test('output without end and without a newline comes in pieces, and no more than 1 MiB of it is kept', async () => {
  const lengths: number[] = [];
  const { stdout } = await exec('head', ['-c', '5000000', '/dev/zero'], {
    onLine: (line) => lengths.push(line.length),
  });
  assert.is(
    lengths.reduce((sum, length) => sum + length, 0),
    5_000_000,
  );
  assert.ok(lengths.length > 3 && Math.max(...lengths) < 2 * 1024 * 1024, String(lengths));
  assert.is(stdout.length, 1024 * 1024);
});

test('lines are the same however their text is cut into chunks', async () => {
  const text = 'one\r\ntwo\n\n10%\r20%\r\n\rthree\r';
  for (const size of [1, 2, 3, 5, text.length]) {
    const stream = new PassThrough();
    const lines: string[] = [];
    const whole = collectLines(stream, (line) => lines.push(line));
    for (let at = 0; at < text.length; at += size) stream.write(text.slice(at, at + size));
    stream.end();
    await finished(stream);
    assert.equal(lines, ['one', 'two', '', '10%', '20%', '', 'three\r'], `chunks of ${size}`);
    assert.is(whole(), text);
  }
});

test.run();
