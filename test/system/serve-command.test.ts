import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toProblem } from '#lib/api/problem.ts';
import { type BuildStatus, Status } from '#lib/api/status.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { buildStatus, completed, failed } from '../unit/client/fixture.ts';
import { startApi } from './serve/api.ts';
import { eventually, imagebuilder, startImagebuilder } from './serve/command.ts';

const id = completed.build_id;
const accepted = {
  status: 202,
  body: { building: true, build_id: id, ticket_id: 42, status_url: `/api/v1/imagebuilder/status?build_id=${id}` },
};
const refused = (error: ImageBuilderError) => ({ status: error.status, body: toProblem(error) });

test('build submits the request of its flags, follows it to the end and prints the place of the image', async () => {
  const queued = buildStatus({
    state: 'queued',
    step: null,
    message: 'queued',
    current: null,
    total: null,
    log_tail: [],
  });
  await using api = await startApi({ submission: accepted, looks: ['unknown', queued, buildStatus(), completed] });
  const flags = [
    '--image-url',
    'http://images.example/a.img',
    '--image-url',
    'http://mirror.example/a.img',
    '--series',
    'noble',
  ];
  const result = await imagebuilder(
    [
      'build',
      ...flags,
      '--ppa',
      'ppa:o/n',
      '--ticket-id',
      '42',
      '--package',
      'hello',
      '--callback-url',
      'http://me.example/',
      'cowsay',
    ],
    { env: { IMAGEBUILDER_URL: api.url } },
  );
  assert.equal(result.exitCode, 0, result.stderr);
  assert.equal(api.calls[0]?.body, {
    ticket_id: '42',
    callback_url: 'http://me.example/',
    base_image: {
      image_type: 'cloud',
      url_list: ['http://images.example/a.img', 'http://mirror.example/a.img'],
      series: 'noble',
    },
    ppa_list: ['ppa:o/n'],
    package_list: ['hello', 'cowsay'],
    progress_trigger: 'imagebuilder-command',
  });
  assert.equal([api.calls[0]?.method, api.calls[0]?.url], ['POST', '/api/v1/build_image/']);
  assert.is(api.calls[1]?.url, `/api/v1/imagebuilder/status?build_id=${id}`);
  assert.match(result.stderr, /queued\n {0,1} 40 % {2}install: 52 %, Unpacking hello\n/);
  assert.match(result.stdout, 'image     file:///store/image.qcow2');
});

test('a failed build is exit code 1, with its reason and log', async () => {
  await using api = await startApi({ looks: [failed] });
  const result = await imagebuilder(['watch', id, '--url', api.url]);
  assert.is(result.exitCode, 1);
  assert.match(result.stdout, 'failed in step install after 1 min 05 s: Packages cannot be found: helo');
  assert.match(result.stdout, '| E: Unable to locate package helo');
});

test('--json writes one object per change, and the result last', async () => {
  const running = buildStatus();
  const looks = [running, { ...running, elapsed_seconds: 66 }, completed];
  await using api = await startApi({ submission: accepted, looks });
  const request = JSON.stringify({ any: 'thing' });
  const result = await imagebuilder(['build', '--request', '-', '--json', '--url', api.url], { input: request });
  assert.is(result.exitCode, 0, result.stderr);
  assert.equal(api.calls[0]?.body, { any: 'thing' });
  const builds = result.stdout.split('\n').map((line) => JSON.parse(line) as BuildStatus);
  assert.equal(builds, [running, completed]);
});

test('--no-follow only submits, and says so where the build is an old one', async () => {
  await using api = await startApi({ submission: accepted });
  const args = ['build', '--request', '-', '--no-follow', '--url', api.url];
  assert.is((await imagebuilder(args, { input: '{}' })).stdout, id);
  assert.equal(JSON.parse((await imagebuilder([...args, '--json'], { input: '{}' })).stdout), accepted.body);
  assert.is(api.calls.length, 2);
  const warnings = ['no worker is known to be running; the build waits until one starts'];
  await using waiting = await startApi({ submission: { ...accepted, body: { ...accepted.body, warnings } } });
  const warned = await imagebuilder([...args, '--url', waiting.url], { input: '{}' });
  assert.equal([warned.exitCode, warned.stdout, warned.stderr], [0, id, `Warning: ${warnings[0]}`]);
  await using old = await startApi({ submission: { ...accepted, status: 200 } });
  for (const more of [[], ['--json']]) {
    const again = await imagebuilder([...args, ...more, '--url', old.url], { input: '{}' });
    assert.equal([again.exitCode, again.stderr], [0, `The same request is in work already, as build ${id}`]);
  }
});

test('every fault of a refused request is listed with its path, and the place of the request', async () => {
  const error = new ImageBuilderError('request.invalid', 'the request has 2 faults: $.a is missing; $.b is odd', {
    faults: [
      { path: '$.a', message: 'is missing' },
      { path: '$.b', message: 'is odd' },
    ],
  });
  await using api = await startApi({ submission: refused(error) });
  const result = await imagebuilder(['build', '--request', '-', '--url', api.url], { input: '{}' });
  assert.is(result.exitCode, 2);
  assert.is(result.stderr, 'imagebuilder: standard input: the request has 2 faults:\n  $.a is missing\n  $.b is odd');
  assert.is(result.stdout, '');
});

test('the gateway may be away for a while in the middle of a build', async () => {
  const away = refused(
    new ImageBuilderError('function.unavailable', 'the function status is being started; try again'),
  );
  await using api = await startApi({ looks: [buildStatus(), away, 'unknown', completed] });
  const result = await imagebuilder(['watch', id, '--url', api.url]);
  assert.is(result.exitCode, 0, result.stderr);
  assert.match(result.stderr, 'the function status is being started; try again; waiting');
});

test('a command that cannot work ends with 2 and advice, without a stack', async () => {
  await using api = await startApi({ looks: ['unknown'] });
  await using wrong = await startApi({ looks: [{ status: 200, body: { hello: 'world' } }] });
  await using page = await startApi({ looks: [{ status: 502, body: 'Bad Gateway' }] });
  const base = ['--image-url', 'http://images.example/a.img', '--series', 'noble'];
  const cases: [string[], string][] = [
    [['status', '--url', 'http://127.0.0.1:9'], 'is `imagebuilder serve` running?'],
    [['status', '--url', 'nonsense'], '--url must be an http or https URL'],
    [['status', '--url', wrong.url], 'does not answer as Image Builder does'],
    [['watch', id, '--url', api.url], `no build ${id} is known`],
    [
      ['watch', id, '--url', 'http://127.0.0.1:9'],
      'nothing listens there; is `imagebuilder serve` running? Start it, or',
    ],
    [['watch', id, '--url', 'http://gateway.invalid'], 'name another gateway with --url or IMAGEBUILDER_URL'],
    [['watch', id, '--url', page.url], 'is it a gateway of Image Builder?'],
    [['watch', 'noble', '--url', api.url], 'BUILD_ID must be the id of a build, such as'],
    [['cancel', '42', '--url', api.url], 'not "42"; `imagebuilder status` lists the builds'],
    [['retry', 'noble', '--url', api.url], 'BUILD_ID must be the id of a build, such as'],
    [['status', '--build-id', 'x', '--url', api.url], '--build-id must be the id of a build'],
    [['build', '--until', 'instal', ...base], '--until must be a step (fetch, inspect,'],
    [['build', '--here', '--disk-size', '20GB', ...base], '--disk-size "20GB" must be a whole number'],
    [['build', 'hello', '--url', api.url], '--image-url and --series are missing'],
    [
      ['build', '--request', '/nonexistent.json', '--url', api.url],
      '/nonexistent.json cannot be read: it does not exist',
    ],
    [['build', '--request', tmpdir(), '--url', api.url], `--request ${tmpdir()} cannot be read: it is a folder`],
    [['build', '--request', '-', '--url', api.url], 'standard input is not JSON'],
    [['build', '--request', '-', '--series', 'noble'], 'cannot be used with option'],
    [['build', '--request', '-', 'hello'], 'packages cannot be named beside it'],
    [['serve', '--listen', '8000'], 'must be HOST:PORT'],
    [['rebuild'], 'unknown command'],
  ];
  for (const [args, message] of cases) {
    const result = await imagebuilder(args);
    assert.is(result.exitCode, 2, `${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, message);
    assert.not.match(result.stderr, /^ {4}at /m);
  }
});

test('retry submits a build again and follows the new one', async () => {
  const former = '7d1f6f0a-2f0b-4a54-8c07-1a4c1ce1c0de';
  await using api = await startApi({ submission: accepted, looks: [buildStatus(), completed] });
  const result = await imagebuilder(['retry', former, '--url', api.url]);
  assert.is(result.exitCode, 0, result.stderr);
  assert.match(result.stdout, 'image     file:///store/image.qcow2');
  const sent = api.calls[0];
  assert.equal([sent?.method, sent?.url, sent?.body], ['POST', `/api/v1/build_image/${former}/retry`, undefined]);
  const only = await imagebuilder(['retry', former, '--no-follow', '--url', api.url]);
  assert.equal([only.exitCode, only.stdout], [0, id]);
  const json = await imagebuilder(['retry', former, '--no-follow', '--json', '--url', api.url]);
  assert.is(JSON.parse(json.stdout).build_id, id);
});

test('retry names the fields that are not known any more', async () => {
  const message = 'is not known whole any more, since it may hold a secret';
  const faults = ['$.debconf_selections', '$.cancel_url'].map((path) => ({ path, message }));
  const reason = `the request cannot be repeated, so submit it again: ${faults[0]?.path} ${message} (and 1 more)`;
  const error = new ImageBuilderError('build.unrepeatable', reason, { faults });
  await using api = await startApi({ submission: refused(error) });
  const result = await imagebuilder(['retry', id, '--url', api.url]);
  assert.is(result.exitCode, 2);
  assert.match(result.stderr, `submit it again:\n  $.debconf_selections ${message}\n  $.cancel_url ${message}`);
});

test('the token of --token-file is sent', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-test-'));
  try {
    await writeFile(join(directory, 'token'), 'open-sesame\n');
    await using api = await startApi({ looks: [completed], cancellation: { status: 202, body: {} } });
    const token = ['--token-file', join(directory, 'token'), '--url', api.url];
    assert.is((await imagebuilder(['cancel', id, ...token])).exitCode, 0);
    const status = await imagebuilder(['status', '--ticket-id', '42', ...token]);
    assert.match(status.stdout, /BUILD +TICKET/);
    assert.equal(
      api.calls.map(({ method, url, authorization }) => [method, url, authorization]),
      [
        ['DELETE', `/api/v1/build_image/${id}`, 'Bearer open-sesame'],
        ['GET', '/api/v1/imagebuilder/status?ticket_id=42', 'Bearer open-sesame'],
      ],
    );
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a missing and a wrong token are told apart, and both name --token-file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-test-'));
  const file = (name: string) => join(directory, name);
  try {
    await Promise.all([
      writeFile(file('wrong'), 'nonsense\n'),
      writeFile(file('empty'), '\n'),
      writeFile(file('two'), 'a b\n'),
    ]);
    await using api = await startApi({ looks: [refused(new ImageBuilderError('request.unauthorized', 'refused'))] });
    const cases: [string[], Record<string, string>, string][] = [
      [[], {}, 'asks for a token: name a file that holds yours with --token-file FILE or IMAGEBUILDER_TOKEN_FILE'],
      [['--token-file', file('wrong')], {}, `does not know the token in ${file('wrong')}: name the file`],
      [[], { IMAGEBUILDER_TOKEN_FILE: file('wrong') }, `does not know the token in ${file('wrong')}: name the file`],
      [['--token-file', file('empty')], {}, `--token-file ${file('empty')} is empty`],
      [['--token-file', file('two')], {}, `--token-file ${file('two')} must hold one token alone`],
      [['--token-file', file('none')], {}, `--token-file ${file('none')} cannot be read: it does not exist`],
    ];
    for (const [args, env, message] of cases) {
      const result = await imagebuilder(['watch', id, '--url', api.url, ...args], { env });
      assert.is(result.exitCode, 2);
      assert.ok(result.stderr.includes(message), result.stderr);
      assert.not.match(result.stderr, 'nonsense');
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('status --watch shows it again and again, waits for a gateway that is away, and ends with Ctrl-C', async () => {
  const away = refused(new ImageBuilderError('function.unavailable', 'the function status is being started'));
  await using api = await startApi({ looks: [buildStatus(), away, completed] });
  const child = startImagebuilder(['status', '--watch', '--json', '--build-id', id, '--url', api.url]);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  await eventually('a second status', async () => output.split('\n').length > 2);
  child.kill('SIGINT');
  const result = await child;
  assert.is(result.exitCode, 130, result.stderr);
  const shown = result.stdout.split('\n').map((line) => Status.parse(JSON.parse(line)));
  assert.equal([shown[0]?.running[0]?.state, shown[1]?.finished[0]?.state], ['running', 'completed']);
  assert.is(result.stderr, 'the function status is being started; waiting');
  assert.ok(api.calls.every(({ url }) => url === `/api/v1/imagebuilder/status?build_id=${id}`));
});

test('status --watch of a gateway that was never there ends at once', async () => {
  const result = await imagebuilder(['status', '--watch', '--url', 'http://127.0.0.1:9']);
  assert.equal([result.exitCode, result.stdout], [2, '']);
});

test('Ctrl-C leaves the build running and says how to return to it', async () => {
  await using api = await startApi({ looks: [buildStatus()], submission: accepted });
  const child = startImagebuilder(['build', '--request', '-', '--url', api.url]);
  child.stdin.end('{}');
  await eventually('a look', async () => api.calls.length > 1);
  child.kill('SIGINT');
  const result = await child;
  assert.is(result.exitCode, 130);
  assert.match(result.stderr, `cancel it with \`imagebuilder cancel ${id}\``);
  assert.not(api.calls.some((call) => call.method === 'DELETE'));
});

test('with --cancel-on-interrupt Ctrl-C cancels the build and waits for its end', async () => {
  const cancelled = buildStatus({ state: 'cancelled' });
  const looks = [buildStatus(), buildStatus({ cancelling: true }), buildStatus({ cancelling: true }), cancelled];
  await using api = await startApi({ looks, submission: accepted, cancellation: { status: 202, body: {} } });
  const child = startImagebuilder(['build', '--request', '-', '--cancel-on-interrupt', '--url', api.url]);
  child.stdin.end('{}');
  await eventually('a look', async () => api.calls.length > 1);
  child.kill('SIGINT');
  const result = await child;
  assert.is(result.exitCode, 1, result.stderr);
  assert.ok(api.calls.some((call) => call.method === 'DELETE'));
  assert.match(result.stdout, 'cancelled after');
});

test('help and version are there for every command', async () => {
  for (const command of [
    [],
    ['serve'],
    ['build'],
    ['status'],
    ['watch'],
    ['cancel'],
    ['retry'],
    ['doctor'],
    ['store', 'check'],
  ]) {
    const result = await imagebuilder([...command, '--help']);
    assert.is(result.exitCode, 0);
    assert.match(result.stdout, /Examples?:\n {2}\$ imagebuilder/);
  }
  assert.match((await imagebuilder(['--version'])).stdout, /^[0-9]+\.[0-9]+\.[0-9]+$/);
});

test.run();
