// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { guestSettings } from '#lib/config/guest.ts';
import { readStack } from '#lib/serve/stack.ts';

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-test-'));
const file = join(directory, 'stack.yml');
test.after(() => rm(directory, { recursive: true }));

async function read(text: string, environment: Record<string, string> = {}) {
  await writeFile(file, text);
  return await readStack(file, environment);
}

async function failure(text: string): Promise<string> {
  try {
    await read(text);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('the stack was accepted');
}

test('settings that are not set have the defaults of one machine, not those that stack.yml has for a pod', async () => {
  const text = `
functions:
  worker:
    lang: node24-ts
    handler: ./functions/worker
    environment:
      IMAGEBUILDER_GUEST: \${IMAGEBUILDER_GUEST:-vm}
      IMAGEBUILDER_WORK_DIRECTORY: \${IMAGEBUILDER_WORK_DIRECTORY:-/tmp/work}
      IMAGEBUILDER_VM_CPUS: 4
      OTHER: \${OTHER:-its own}
`;
  const environment = async (given: Record<string, string>) => (await read(text, given)).functions[0]?.environment;
  assert.equal(await environment({ IMAGEBUILDER_WORK_DIRECTORY: '/srv/work' }), {
    IMAGEBUILDER_GUEST: guestSettings.guest.fallback,
    IMAGEBUILDER_WORK_DIRECTORY: '/srv/work',
    IMAGEBUILDER_VM_CPUS: '4',
    OTHER: 'its own',
  });
});

test('a stack is read with its timeouts, limits, labels, annotations and schedule', async () => {
  const { functions } = await read(`
version: 1.0
provider: { name: openfaas, gateway: "http://127.0.0.1:8080" }
functions:
  build-worker:
    lang: node24-ts
    handler: ./functions/build-worker
    image: \${REGISTRY:-local}/build-worker:latest
    something_new: is ignored
    secrets: [imagebuilder-token]
    limits: { memory: 1Gi }
    environment:
      exec_timeout: \${LIMIT:-4h}
      read_timeout: 4h5s
      max_inflight: 2
      MAX_BODY_BYTES: 0
      BODY_TIMEOUT_SECONDS: 20
      VERBOSE: true
      VERSION: 1.10
      NOTHING:
    labels:
      com.openfaas.scale.max: 4
    annotations:
      topic: cron-function
      schedule: "* * * * *"
  plain:
    lang: node24-ts
    handler: ./functions/plain
    environment:
    labels:
configuration:
  copy: [./lib]
`);
  const [worker, plain] = functions;
  assert.ok(worker && plain);
  assert.is(worker.name, 'build-worker');
  assert.is(worker.handlerDirectory, join(directory, 'functions/build-worker'));
  assert.is(worker.execTimeoutMs, 4 * 3_600_000);
  assert.equal(worker.body, { maximumBytes: 0, stallMs: 10_000, totalMs: 20_000 });
  assert.is(worker.writeTimeoutMs, 30_000);
  assert.is(worker.maximumInflight, 2);
  assert.is(worker.environment.VERBOSE, 'true');
  assert.is(worker.environment.VERSION, '1.10');
  assert.is(worker.environment.NOTHING, '');
  assert.equal(worker.labels, { 'com.openfaas.scale.max': '4' });
  assert.ok(worker.schedule);
  assert.is(plain.execTimeoutMs, undefined);
  assert.equal(plain.body, { maximumBytes: 1024 * 1024, stallMs: 10_000, totalMs: 30_000 });
  assert.is(plain.maximumInflight, undefined);
  assert.is(plain.schedule, undefined);
  assert.equal(plain.environment, {});
});

const one = (body: string) => `functions:\n  one:\n    lang: node24-ts\n    handler: ./one\n${body}`;

test("the operator's environment wins over environment_file, and that over the stack", async () => {
  await writeFile(join(directory, 'extra.yml'), 'environment:\n  A: file\n  B: file\n');
  const text = one('    environment: { A: stack, B: stack, C: stack }\n    environment_file: [extra.yml]\n');
  const { functions } = await read(text, { A: 'operator', D: 'operator' });
  assert.equal(functions[0]?.environment, { A: 'operator', B: 'file', C: 'stack', D: 'operator' });
});

test('a quotation mark or backslash in a variable neither breaks the file nor changes', async () => {
  const text = (quote: string) => `
functions:
  worker:
    lang: node24-ts
    handler: ./functions/worker
    labels: { project: "\${OS_PROJECT_NAME:-}" }
    environment:
      OS_PROJECT_NAME: ${quote}\${OS_PROJECT_NAME:-}${quote}
`;
  const value = 'the "fast" one, \\ and all';
  const { labels, environment } = (await read(text('"'), { OS_PROJECT_NAME: value })).functions[0] ?? {};
  assert.equal([{ ...labels }, environment?.OS_PROJECT_NAME], [{ project: value }, value]);
  assert.is((await read(text("'"), { OS_PROJECT_NAME: value })).functions[0]?.environment.OS_PROJECT_NAME, value);
});

test('anchors and merge keys work', async () => {
  const { functions } = await read(
    `x-common: &common { A: common, B: common }\n${one('    environment:\n      <<: *common\n      B: own\n')}`,
  );
  assert.equal(functions[0]?.environment, { A: 'common', B: 'own' });
});

test('every fault is named with its place', async () => {
  const message = await failure(
    one(
      '    environment: { exec_timeout: soon, max_inflight: many, MAX_BODY_BYTES: 1M }\n    annotations: { topic: cron-function, schedule: often }\n',
    ),
  );
  assert.match(message, '$.functions.one.environment.exec_timeout must be a duration');
  assert.match(message, '$.functions.one.environment.max_inflight must be a whole number');
  assert.match(message, '$.functions.one.environment.MAX_BODY_BYTES must be a whole number');
  assert.match(message, '$.functions.one.annotations.schedule must be a cron schedule');
});

test('a file that is no stack is refused', async () => {
  assert.match(await failure('functions: {}'), 'names no function');
  assert.match(await failure('version: 1.0'), '$.functions must hold the functions');
  assert.match(await failure('functions:\n  one:\n    handler: ./x'), '$.functions.one.lang is missing');
  assert.match(await failure('functions:\n  one:\n    lang: ../../etc\n    handler: ./x'), 'must name a template');
  assert.match(await failure('functions:\n  One_two:\n    lang: node24-ts\n    handler: ./x'), 'must be a DNS label');
  assert.match(await failure('functions: [\n'), 'is not YAML');
  assert.match(await failure('a: b\nc: ${D^^}\n'), 'line 2');
});

test.run();
