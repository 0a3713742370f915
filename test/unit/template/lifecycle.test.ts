import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { Agent, type ClientRequest, request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { errorTable } from '#lib/errors.ts';
import { type Answer, call, type FunctionProcess, runFunction, startFunction } from '../../../lab/servers/function.ts';
import { freePorts } from '../../../lab/servers/ports.ts';
import { problems } from '../../../template/node24-ts/problem.ts';

/** How a function starts, is left by its callers, stops, and fails to start. */

const handler = `${import.meta.dirname}/handlers/example.ts`;
let directory: string;

test.before(async () => {
  directory = await mkdtemp(`${tmpdir()}/imagebuilder-template-`);
});
test.after(async () => {
  await rm(directory, { recursive: true });
});

/** Makes a call that may be hung up. */
function open(server: FunctionProcess, path: string): ClientRequest {
  return request({ ...server.address, path, agent: false })
    .on('error', () => {})
    .end();
}

/** Calls until a connection is not taken any more, which is a moment after the signal; returns the last error's code. */
async function untilRefused(server: FunctionProcess): Promise<string | undefined> {
  let code: string | undefined;
  for (let tries = 0; tries < 200 && code !== 'ECONNREFUSED'; tries += 1) {
    code = await call(server.address, '/text').then(
      () => 'answered',
      (error: NodeJS.ErrnoException) => error.code,
    );
  }
  return code;
}

test('SIGTERM: a call in flight sees it, finishes and is answered; then close() is called and the exit code is 0', async () => {
  await using server = await startFunction({ handler });
  const agent = new Agent({ keepAlive: true });
  await call(server.address, '/text', { agent });
  const answer = call(server.address, '/until-released');
  answer.catch(() => {});
  await server.line('"message":"waiting"');
  server.child.kill('SIGTERM');
  await server.line('"message":"stopping"');
  server.child.kill('SIGTERM');
  const refused = await untilRefused(server);
  assert.is(refused, 'ECONNREFUSED', 'new connections are refused');
  const release = await call(server.address, '/release', { agent });
  assert.is(release.status, 204, 'a connection that was kept alive is still served');
  assert.is(release.headers.connection, 'close');
  const { status, body } = await answer;
  assert.equal([status, body.toString()], [200, 'handed back']);
  assert.is(await server.exited, 0);
  assert.is(server.lines.filter((line) => line.includes('"message":"closed"')).length, 1);
});

test('SIGTERM: a large answer that is still on its way arrives whole', async () => {
  await using server = await startFunction({ handler });
  const outgoing = open(server, '/large-stream');
  const [incoming] = await once(outgoing, 'response');
  server.child.kill('SIGTERM');
  await server.line('"message":"stopping"');
  let size = 0;
  for await (const chunk of incoming) size += chunk.length;
  assert.is(size, 64 * 65_536);
  assert.is(await server.exited, 0);
});

test('SIGTERM: an idle connection that was kept alive holds nothing up', async () => {
  await using server = await startFunction({ handler });
  const agent = new Agent({ keepAlive: true });
  await call(server.address, '/text', { agent });
  server.child.kill('SIGTERM');
  assert.is(await server.exited, 0);
  agent.destroy();
});

test('SIGTERM: a call goes on to its end when its caller has hung up', async () => {
  await using server = await startFunction({ handler });
  const outgoing = open(server, '/until-disconnected-and-stopping');
  await server.line('"message":"waiting"');
  outgoing.destroy();
  await server.line('"message":"disconnected"');
  server.child.kill('SIGTERM');
  assert.is(await server.exited, 0);
  const messages = server.lines.map((line) => JSON.parse(line).message);
  assert.equal(messages, ['listening', 'waiting', 'disconnected', 'stopping', 'handed back', 'closed']);
});

/** The environment that the Dockerfile gives a function behind the watchdog, whose lock file is in `folder`. */
const behindWatchdog = (folder: string) => ({ suppress_lock: 'true', healthcheck_interval: '2s', TMPDIR: folder });
const isThere = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

test('behind the watchdog: a call that comes while the handler is loaded waits for it, and readiness is shown in time', async () => {
  const folder = await mkdtemp(`${directory}/slow-`);
  const [port = 0] = await freePorts(1);
  await writeFile(`${folder}/.lock`, 'of a process that died in this pod');
  await writeFile(
    `${folder}/slow.ts`,
    `import { existsSync } from 'node:fs';
    // Keeps the process busy, as many modules do.
    while (!existsSync('${folder}/go'));
    export default () => 'loaded';`,
  );
  const env = { ...behindWatchdog(folder), PORT: String(port) };
  const starting = startFunction({ handler: `${folder}/slow.ts`, env });
  const address = { host: '127.0.0.1', port };
  const early = async (): Promise<Answer> => {
    for (;;) {
      const answer = await call(address, '/').catch(({ code }: NodeJS.ErrnoException) => code);
      if (typeof answer === 'object') return answer;
      assert.is(answer, 'ECONNREFUSED');
    }
  };
  const answer = early();
  // Longer than that, and OpenFaaS CE would kill the container.
  while (await isThere(`${folder}/.lock`)) await sleep(5);
  while (!(await isThere(`${folder}/.lock`))) await sleep(5);
  await writeFile(`${folder}/go`, '');
  await using server = await starting;
  const { status, body } = await answer;
  assert.equal([status, body.toString()], [200, 'loaded']);
  server.child.kill('SIGKILL');
});

test('behind the watchdog: a function that does not load never looks ready', async () => {
  const folder = await mkdtemp(`${directory}/broken-`);
  await writeFile(`${folder}/.lock`, 'of a process that died in this pod');
  await writeFile(`${folder}/broken.ts`, 'throw new Error("no such host");');
  const { exitCode } = await runFunction({
    handler: `${folder}/broken.ts`,
    env: { ...behindWatchdog(folder), PORT: '0' },
  });
  assert.is(exitCode, 1);
  assert.not.ok(await isThere(`${folder}/.lock`));
});

test('behind the watchdog: SIGTERM while the handler is loaded ends with 0', async () => {
  const folder = await mkdtemp(`${directory}/stopped-`);
  await writeFile(
    `${folder}/stopped.ts`,
    `process.kill(process.pid, 'SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    export default () => 'loaded';`,
  );
  const { exitCode } = await runFunction({
    handler: `${folder}/stopped.ts`,
    env: { ...behindWatchdog(folder), PORT: '0' },
  });
  assert.is(exitCode, 0);
});

test('behind the watchdog: a function goes on where no lock file can be written', async () => {
  await using server = await startFunction({ handler, env: behindWatchdog('/proc/none') });
  assert.is((await call(server.address, '/text')).status, 200);
  assert.ok(server.lines.some((line) => line.includes('lock file of the watchdog cannot be written')));
});

test('a caller who goes away aborts context.disconnected', async () => {
  await using server = await startFunction({ handler });
  const outgoing = open(server, '/until-disconnected-and-stopping');
  await server.line('"message":"waiting"');
  outgoing.destroy();
  await server.line('"message":"disconnected"');
});

test('a caller who goes away in the middle of a stream ends its source, without an error in the log', async () => {
  await using server = await startFunction({ handler });
  const outgoing = open(server, '/endless');
  const [incoming] = await once(outgoing, 'response');
  await once(incoming, 'data');
  incoming.destroy();
  assert.equal(JSON.parse((await call(server.address, '/endless-ended')).body.toString()), { aborted: true });
  server.child.kill('SIGTERM');
  await server.exited;
  assert.equal(
    server.lines.filter((line) => line.includes('"level":"error"')),
    [],
  );
});

test('max_inflight: calls beyond it are 429 problems, and a call counts until its end though its caller has gone', async () => {
  await using server = await startFunction({ handler, env: { max_inflight: '1' } });
  const outgoing = open(server, '/until-disconnected-and-stopping');
  await server.line('"message":"waiting"');
  assert.is((await call(server.address, '/text')).status, 429);
  for (let scrape = 0; scrape < 3; scrape += 1) {
    assert.is.not((await call(server.address, '/metrics')).status, 429, 'monitoring is not held up');
  }
  for (const path of ['/metrics/', '/metrics?x', '/x/metrics']) {
    assert.is((await call(server.address, path)).status, 429, path);
  }
  outgoing.destroy();
  await server.line('"message":"disconnected"');
  const answer = await call(server.address, '/text');
  assert.is(answer.status, 429);
  assert.is(answer.headers['retry-after'], '5');
  assert.is(JSON.parse(answer.body.toString()).code, 'worker.busy');
});

test('answerNow: the caller has its answer, and the call counts until the handler ends', async () => {
  await using server = await startFunction({ handler, env: { max_inflight: '1' } });
  const agent = new Agent({ keepAlive: true });
  const { status, headers, body } = await call(server.address, '/answers-early', { agent });
  assert.equal([status, headers['x-early'], body.toString()], [202, 'yes', '{"early":true}']);
  await server.line('"message":"answered"');
  assert.is((await call(server.address, '/text')).status, 429);
  server.child.kill('SIGTERM');
  assert.is(await server.exited, 0);
  const messages = server.lines.map((line) => JSON.parse(line).message);
  assert.equal(messages, ['listening', 'answered', 'stopping', 'handed back in its own time', 'closed']);
  agent.destroy();
});

test('answerNow: an error after the answer goes into the log, and the connection lives', async () => {
  await using server = await startFunction({ handler });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  assert.is((await call(server.address, '/answers-early-and-fails', { agent })).body.toString(), 'early');
  await server.line('failed afterwards');
  assert.is((await call(server.address, '/text', { agent })).status, 200);
  assert.is(Object.values(agent.freeSockets).flat().length, 1);
  agent.destroy();
});

test('many calls share one connection', async () => {
  await using server = await startFunction({ handler });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const calls = Array.from({ length: 20 }, (_, index) =>
    call(server.address, '/echo', { agent, method: 'POST', body: 'x'.repeat(index * 1000) }),
  );
  const answers = await Promise.all(calls);
  assert.equal(
    answers.map(({ body }) => JSON.parse(body.toString()).rawLength),
    answers.map((_, index) => index * 1000),
  );
  assert.is(Object.values(agent.freeSockets).flat().length, 1);
  agent.destroy();
});

test('an uncaught error ends the process with 1 and its stack in one line of the log', async () => {
  await using server = await startFunction({ handler });
  await call(server.address, '/crash').catch(() => {});
  assert.is(await server.exited, 1);
  assert.match(JSON.parse(await server.line('nobody catches this')).error.stack, /example\.ts/);
});

test('LISTEN_SOCKET: it listens on a Unix socket and takes it away at the end', async () => {
  const socketPath = `${directory}/function.sock`;
  await using server = await startFunction({
    handler,
    env: { ...behindWatchdog(directory), LISTEN_SOCKET: socketPath },
  });
  assert.equal(server.address, { socketPath });
  assert.is((await call(server.address, '/text')).body.toString(), 'grüße');
  server.child.kill('SIGTERM');
  assert.is(await server.exited, 0);
  assert.is(await stat(socketPath).catch(() => 'gone'), 'gone');
  assert.not.ok(await isThere(`${directory}/.lock`), 'no watchdog is there');
});

test('a handler file that is not there, does not load or exports no handler ends with 1 and says so', async () => {
  await writeFile(`${directory}/throws.ts`, 'throw new Error("no such host");');
  await writeFile(`${directory}/syntax.ts`, 'export default (');
  await writeFile(`${directory}/empty.ts`, 'export const handler = () => 1;');
  const messages = {
    'none.ts': /^there is no handler file .*none\.ts$/,
    'throws.ts': /throws\.ts failed while it was being loaded: no such host$/,
    'syntax.ts': /syntax\.ts failed while it was being loaded: /,
    'empty.ts': /empty\.ts must export a function as default/,
  };
  const runs = Object.entries(messages).map(async ([file, message]) => {
    const { exitCode, lines } = await runFunction({ handler: `${directory}/${file}` });
    assert.is(exitCode, 1, file);
    assert.match(JSON.parse(lines.at(-1) ?? '{}').message, message);
  });
  await Promise.all(runs);
});

test('a handler starts before the function listens; where it cannot, the function ends with 2 and its words', async () => {
  const module = (start: string) => `export const start = ${start}; export default () => 'answer';`;
  await writeFile(`${directory}/starts.ts`, module('async () => { console.error("first of all"); }'));
  await writeFile(`${directory}/refuses.ts`, module('async () => { throw new Error("no folder to work in"); }'));
  await writeFile(`${directory}/odd.ts`, module('"now"'));
  await using started = await startFunction({ handler: `${directory}/starts.ts` });
  assert.match(started.lines[0] ?? '', 'first of all');
  const refused = await runFunction({ handler: `${directory}/refuses.ts` });
  assert.is(refused.exitCode, 2);
  assert.equal(
    refused.lines.map((line) => (JSON.parse(line) as { message: string }).message),
    ['no folder to work in'],
  );
  assert.is((await runFunction({ handler: `${directory}/odd.ts` })).exitCode, 1);
});

test('a setting that makes no sense ends with 1 and names the variable', async () => {
  for (const env of [
    { PORT: '70000' },
    { MAX_BODY_BYTES: '1MB' },
    { BODY_STALL_SECONDS: '0' },
    { healthcheck_interval: 'soon' },
  ]) {
    const { exitCode, lines } = await runFunction({ handler, env: { suppress_lock: 'true', ...env } });
    assert.is(exitCode, 1);
    assert.match(lines.at(-1) ?? '', Object.keys(env)[0] ?? '');
  }
});

test('a port that is taken ends with 1 and says so', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  const { exitCode, lines } = await runFunction({ handler, env: { PORT: String(port) } });
  taken.close();
  assert.is(exitCode, 1);
  assert.match(lines.at(-1) ?? '', 'EADDRINUSE');
});

test('the template’s own problems are rows of the table of errors', () => {
  for (const [code, problem] of Object.entries(problems)) {
    assert.equal({ ...problem }, { ...errorTable[code as keyof typeof problems] }, code);
  }
});

test.run();
