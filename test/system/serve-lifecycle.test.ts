import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createEgress } from '#lib/http/egress.ts';
import { createLog } from '#lib/log.ts';
import { noProxies } from '#lib/proxies.ts';
import { startServe } from '#lib/serve/serve.ts';
import { defaultTrust } from '#lib/trust.ts';
import { postHead, rawCall } from '../../lab/servers/raw-http.ts';
import { eventually, imagebuilder, isAlive, serveStack, writeStack } from './serve/command.ts';

const slow = { slow: { handler: 'slow', environment: { max_inflight: '2' } } } as const;

/** Calls `slow` and returns once it has begun. */
async function begin(gateway: Awaited<ReturnType<typeof serveStack>>, query: string) {
  const call = fetch(`${gateway.url}/function/slow?ms=100000&id=begun&${query}`);
  call.catch(() => {});
  await eventually('the call', async () => gateway.log().includes('"id":"begun"'));
  return { call };
}

test('SIGTERM lets calls in flight end, and streams of events, refuses new ones, and ends with 0', async () => {
  await using gateway = await serveStack({ ...slow, echo: { handler: 'echo' } });
  const pid = gateway.functionPids().slow ?? 0;
  const { call } = await begin(gateway, '');
  const events = await fetch(`${gateway.url}/function/echo/events`);
  gateway.kill('SIGTERM');
  assert.ok((await events.text()).startsWith('data: one'), 'the stream has an end and is not cut');
  const response = await call;
  assert.is(response.status, 200);
  assert.equal(await response.json(), { id: 'begun', stopped: true });
  const end = await gateway.ended;
  assert.is(end.exitCode, 0);
  assert.not(await isAlive(pid));
  assert.is(await fetch(gateway.url).catch(() => 'refused'), 'refused');
});

test('root that serves without a token says what that means, and with one says nothing', async () => {
  const secrets = await mkdtemp(join(tmpdir(), 'imagebuilder-serve-secrets-'));
  await writeFile(join(secrets, 'imagebuilder-token'), 'a token of these tests');
  for (const [env, says] of [
    [{}, true],
    [{ IMAGEBUILDER_SECRETS_DIRECTORY: secrets }, false],
  ] as const) {
    await using gateway = await serveStack(slow, { env });
    gateway.kill('SIGTERM');
    assert.is((await gateway.ended).exitCode, 0);
    assert.is(/no token is set, and this is root: whoever reaches this address/.test(gateway.log()), says);
  }
  await rm(secrets, { recursive: true });
});

test('SIGTERM waits for no request that is not whole', async () => {
  await using gateway = await serveStack(slow);
  const { closed, socket } = rawCall(Number(new URL(gateway.url).port), postHead('/function/slow', 10), 'abc');
  await once(socket, 'ready');
  await fetch(`${gateway.url}/healthz`);
  gateway.kill('SIGTERM');
  assert.is(await closed, '', 'it is cut, and not answered that its time is over');
  assert.is((await gateway.ended).exitCode, 0);
});

test('a function whose call does not end within the grace is killed', async () => {
  await using gateway = await serveStack(slow, { args: ['--grace', '0.2'] });
  const pid = gateway.functionPids().slow ?? 0;
  const { call } = await begin(gateway, 'stubborn=yes');
  gateway.kill('SIGTERM');
  assert.is((await gateway.ended).exitCode, 0);
  assert.not(await isAlive(pid));
  assert.match(gateway.log(), '"function killed"');
  // Its caller got a 500 or a closed connection, but no answer that could be taken for the function's.
  const response = await call.catch(() => undefined);
  assert.is.not(response?.status, 200);
});

test('a second signal ends it at once', async () => {
  await using gateway = await serveStack(slow);
  const pid = gateway.functionPids().slow ?? 0;
  await begin(gateway, 'stubborn=yes');
  gateway.kill('SIGINT');
  await eventually('the first signal', async () => gateway.log().includes('"stopping"'));
  gateway.kill('SIGINT');
  assert.is((await gateway.ended).exitCode, 1);
  assert.not(await isAlive(pid));
});

test('when the gateway is killed, its functions end as well', async () => {
  await using gateway = await serveStack({ ...slow, echo: { handler: 'echo' } });
  const pids = Object.values(gateway.functionPids());
  assert.is(pids.length, 2);
  await begin(gateway, '');
  const environment = (await (await fetch(`${gateway.url}/function/echo/environment`)).json()) as Record<
    string,
    string
  >;
  gateway.kill('SIGKILL');
  await gateway.ended;
  for (const pid of pids) await eventually(`the end of ${pid}`, async () => !(await isAlive(pid)));
  const socket = environment.LISTEN_SOCKET ?? '';
  assert.not(existsSync(socket));
  // The next serve clears away leftovers once they have lain there for a while.
  const longAgo = new Date(0);
  await utimes(dirname(socket), longAgo, longAgo);
  await using _next = await serveStack(slow);
  assert.not(existsSync(dirname(socket)));
});

test('a function that cannot start ends serve with a message, and leaves nothing running', async () => {
  await using stack = await writeStack({ echo: { handler: 'echo' }, broken: { handler: 'broken' } });
  const result = await imagebuilder(['serve', '--stack', stack.file, '--listen', '127.0.0.1:0']);
  assert.is(result.exitCode, 2);
  assert.match(result.stderr, 'imagebuilder: function broken did not start');
  assert.match(result.stderr, 'this function cannot start');
  assert.is(result.stdout, '');
});

test('an address that is taken, and a stack that is wrong, are said in plain words', async () => {
  await using stack = await writeStack({ echo: { handler: 'echo' } });
  const blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  const { port } = blocker.address() as { port: number };
  const taken = await imagebuilder(['serve', '--stack', stack.file, '--listen', `127.0.0.1:${port}`]);
  blocker.close();
  assert.is(taken.exitCode, 2);
  assert.match(taken.stderr, `cannot listen on 127.0.0.1 port ${port}: another program listens there`);
  const missing = await imagebuilder(['serve', '--stack', '/nonexistent/stack.yml']);
  assert.is(missing.exitCode, 2);
  assert.is(missing.stderr, 'imagebuilder: /nonexistent/stack.yml cannot be read: it does not exist');
});

test('a folder for temporary files that is not there ends serve with a message', async () => {
  await using stack = await writeStack({ echo: { handler: 'echo' } });
  const options = { env: { TMPDIR: join(dirname(stack.file), 'nothing') } };
  const result = await imagebuilder(['serve', '--stack', stack.file, '--listen', '127.0.0.1:0'], options);
  assert.is(result.exitCode, 2);
  assert.match(result.stderr, 'imagebuilder: the folder for temporary files cannot be used');
});

test('a function with a cron schedule is called when a minute of it begins, and at no other', async () => {
  const lines: string[] = [];
  await using stack = await writeStack({
    tick: { handler: 'echo', annotations: { topic: 'cron-function', schedule: '*/5 * * * *' } },
    quiet: { handler: 'echo', annotations: { schedule: '* * * * *' } },
  });
  // Time goes on by itself only as far as somebody sleeps: from minute to minute, eleven times.
  let now = Date.UTC(2026, 0, 1, 12, 0, 30);
  const slept: number[] = [];
  const enough = Promise.withResolvers<void>();
  const serve = await startServe({
    stackFile: stack.file,
    templateDirectory: join(import.meta.dirname, '../../template'),
    host: '127.0.0.1',
    port: 0,
    publicUrl: '',
    allowedHosts: [],
    environment: { PATH: process.env.PATH },
    egress: createEgress({ allowLoopback: true, allowedHosts: [] }),
    authorize: () => {},
    http: { proxies: noProxies, trust: defaultTrust },
    log: createLog({ level: 'debug', write: (line) => lines.push(line) }),
    clock: {
      now: () => now,
      sleep: async (ms, signal) => {
        if (slept.length === 11) {
          enough.resolve();
          await once(signal, 'abort');
        }
        slept.push(ms);
        now += ms;
      },
    },
  });
  try {
    await enough.promise;
    assert.is(slept[0], 30_000);
    await eventually(
      'both calls',
      async () => lines.filter((line) => /asynchronous call answered.*"tick".*"status":200/.test(line)).length === 2,
      () => lines.join(''),
    );
    const list = await (await fetch(`${serve.url}/system/functions`)).json();
    const counts = (list as { name: string; invocationCount: number }[]).map((entry) => [
      entry.name,
      entry.invocationCount,
    ]);
    assert.equal(counts, [
      ['tick', 2],
      ['quiet', 0],
    ]);
  } finally {
    await serve.stop(AbortSignal.timeout(10_000));
  }
});

test.run();
