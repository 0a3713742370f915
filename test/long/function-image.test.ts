import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Docker } from '../../lab/servers/docker.ts';
import {
  buildFunctionImage,
  containerLogs,
  hardened as deprived,
  importFunctionBases,
  startContainer,
  testWithDocker,
} from '../../lab/servers/function-image.ts';

/**
 * The template's Dockerfile, really built, and its containers run the way a hardened cluster runs them. The worker's
 * is in build-container.test.ts.
 */

const fixture = resolve(import.meta.dirname, '../unit/template/handlers/lib-user');
const hardened = ['--network=none', '--tmpfs=/tmp', ...deprived];

await testWithDocker(run);
test.run();

function run(docker: Docker): void {
  let directory: string;

  test.before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'imagebuilder-function-image-'));
  });
  test.after(async () => {
    await docker[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const build = (name: string, tag: string, handler?: string) =>
    buildFunctionImage(docker, name, { tag, directory, ...(handler === undefined ? {} : { handler }) });
  const start = (image: string, args: readonly string[] = hardened) =>
    startContainer(docker, [...args, image], async (container) => (await call(container, '/_/health')).status === 200);
  const logs = (container: string) => containerLogs(docker, container);

  /** Calls port 8080 from inside the container's own network; status 0 where nothing answers. */
  async function call(container: string, path: string, body?: unknown): Promise<{ status: number; text: string }> {
    const script = `
      const [path, body] = process.argv.slice(1);
      const options = body === '' ? {} : { method: 'POST', body, headers: { 'content-type': 'application/json' } };
      const answer = await fetch('http://127.0.0.1:8080' + path, options).catch(() => null);
      console.log(JSON.stringify({ status: answer?.status ?? 0, text: (await answer?.text()) ?? '' }));`;
    const program = [process.execPath, '--input-type=module', '--eval', script, path];
    const pid = String(await docker.pid(container));
    const child = spawn('nsenter', [
      '--target',
      pid,
      '--net',
      ...program,
      body === undefined ? '' : JSON.stringify(body),
    ]);
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    await once(child, 'close');
    return output === '' ? { status: 0, text: '' } : JSON.parse(output);
  }

  const inContainer = async (container: string, ...command: string[]) =>
    (await docker.run(['exec', container, ...command])).stdout.trim();

  test('the Dockerfile builds from the tree that faas-cli assembles', async () => {
    await importFunctionBases(docker);
    await build('status', 'function', fixture);
  });

  test('the image answers on port 8080, without privileges, on a root that cannot be written to', async () => {
    const container = await start('function');
    assert.is((await call(container, '/codes')).status, 200);
    const request = {
      ticket_id: 1,
      base_image: { image_type: 'cloud', url_list: ['http://images.example/x.img'], series: 'trusty' },
      progress_trigger: 'progress',
    };
    assert.equal(JSON.parse((await call(container, '/', request)).text), request.base_image);
    assert.is(await inContainer(container, 'id', '--user'), '12000');
    await docker.run(['rm', '--force', container]);
  });

  test('the code of a function belongs to root, and the function cannot change it', async () => {
    const container = await start('function', ['--network=none']);
    const writable = await inContainer(container, 'find', '/home/app/function', '/home/app/index.ts', '-writable');
    assert.is(writable.replaceAll(/^.* -> .*$/gm, ''), '');
    await docker.run(['rm', '--force', container]);
  });

  test('it holds the production dependencies of the lock file, and nothing of the repository’s tests', async () => {
    const container = await start('function');
    const modules = (await inContainer(container, 'ls', '/home/app/function/node_modules')).split('\n');
    assert.ok(modules.includes('zod'));
    assert.ok(modules.includes('amqplib'));
    assert.not.ok(modules.includes('typescript'));
    assert.not.ok(
      modules.some((module) => module.startsWith('node-linux-')),
      'no second Node',
    );
    const files = await inContainer(container, 'ls', '--almost-all', '/home/app');
    assert.not.match(files, /Dockerfile|template\.yml|\.dockerignore/);
    await docker.run(['rm', '--force', container]);
  });

  test('its health check finds it healthy', async () => {
    const container = await start('function');
    let health = '';
    for (let tries = 0; tries < 150 && health !== 'healthy'; tries += 1) {
      await sleep(200);
      health = (await docker.run(['inspect', '--format', '{{.State.Health.Status}}', container])).stdout.trim();
    }
    assert.is(health, 'healthy');
    await docker.run(['rm', '--force', container]);
  });

  test('SIGTERM: the call in flight is answered, later ones too while the gateway may not know, and it exits with 0', async () => {
    const container = await start('function', [...hardened, '--env=healthcheck_interval=6s']);
    const slow = call(container, '/slow');
    while (!(await logs(container)).includes('slow call begun')) await sleep(100);
    await docker.run(['kill', '--signal', 'TERM', container]);
    while (!(await logs(container)).includes('"stopping"')) await sleep(100);
    assert.is((await call(container, '/codes')).status, 200);
    assert.is((await call(container, '/_/health')).status, 503);
    assert.equal(await slow, { status: 200, text: 'finished' });
    assert.is((await docker.run(['wait', container])).stdout.trim(), '0', await logs(container));
    assert.match(await logs(container), '"closed"', 'close() of the handler has had its time');
    await docker.run(['rm', container]);
  });

  test('it answers without a folder for temporary files too, as faas-cli local-run starts it', async () => {
    const args = ['run', '--detach', '--network=none', '--read-only', 'function'];
    const container = (await docker.run(args)).stdout.trim();
    while ((await call(container, '/codes')).status !== 200) {
      const running = (await docker.run(['inspect', '--format', '{{.State.Running}}', container])).stdout.trim();
      assert.is(running, 'true', await logs(container));
      await sleep(100);
    }
    assert.match(await logs(container), 'lock file of the watchdog cannot be written');
    await docker.run(['rm', '--force', container]);
  });

  test('status and build-image run in their images, hardened, and answer though no broker is there', async () => {
    await build('status', 'status');
    const status = await start('status');
    const { status: code, text } = await call(status, '/');
    assert.equal([code, JSON.parse(text).broker.reachable], [200, false]);
    await docker.run(['rm', '--force', status]);

    await build('build-image', 'build-image');
    const buildImage = await start('build-image');
    const refused = await call(buildImage, '/', { ticket_id: 1 });
    assert.equal([refused.status, JSON.parse(refused.text).code], [400, 'request.invalid']);
    await docker.run(['rm', '--force', buildImage]);
  });
}
