import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildEvent } from '#lib/api/event.ts';
import type { BuildRequestInput } from '#lib/api/request.ts';
import { secretFiles } from '#lib/config/secrets.ts';
import { exec } from '#lib/exec.ts';
import { queues } from '#lib/queue/topology.ts';
import { type FleetBase, startFleet } from '../../lab/fleet/fleet.ts';
import { call, startFunction } from '../../lab/servers/function.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { listen } from '../../lab/servers/listen.ts';
import { type OpenStack, startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { projects } from '../../lab/servers/openstack/template.ts';
import { openKeyring } from '../openpgp/keyring.ts';
import { smallImage } from './faults/small-image.ts';
import { scanFor } from './secret-scan.ts';

/** Every secret that the service can be given, with known values, and a look into everything that it lets anybody see. */

const canary = (name: string) => `${name}-${randomBytes(12).toString('hex')}`;

const secrets = {
  'the password of RabbitMQ': canary('amqp'),
  'the token of callers': canary('token'),
  'the token of one caller among several': canary('one-caller'),
  'the key of callbacks': canary('signing'),
  'the key of temporary URLs': canary('temporary'),
  'the password of OpenStack': projects.builder.password,
  'a wrong password of OpenStack': canary('wrong'),
  'the secret of an application credential': canary('credential'),
  'the password in a URL of a request': canary('userinfo'),
  'the signature in a URL of the base image': canary('image'),
  'the signature in the cancel_url': canary('cancel'),
  'the signature in the callback URL': canary('callback'),
  'the password in a redirect': canary('redirect'),
  "the password in the image's own sources": canary('mirror'),
};

/** A copy of the base image, for the worker alone, has what the image itself has. */
const ofBase = /^the password in the image's own sources: \S+\/cache\/uncompressed\/blobs\/[0-9a-f]{64}$/;

test('no secret is in a log, event, answer, callback, command line, environment, file left behind, or image', async () => {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const cloud = stack.use(await startOpenStack());
  const base = await smallImage();

  const { password, scan } = await makeKeys();
  const amqpUser = 'imagebuilder';
  const amqpPassword = `p@ss/w%rd ${secrets['the password of RabbitMQ']}`;
  const token = secrets['the token of callers'];

  const { OS_PASSWORD: _password, ...openStack } = cloud.environment;
  const credential = ['application', 'credential', 'create', '--format', 'json', '--secret'];
  const { stdout: created } = await cloud.command([
    ...credential,
    secrets['the secret of an application credential'],
    'secrets-test',
  ]);
  const credentialId = (JSON.parse(created) as { id?: string; ID?: string }).id ?? JSON.parse(created).ID;

  const secretsDirectory = async (name: string, more: Readonly<Record<string, string>>) => {
    const path = join(directory, name);
    await mkdir(path);
    const files = {
      [secretFiles.token.file]: token,
      [secretFiles.tokens.file]: JSON.stringify({
        callers: [{ name: 'lander', role: 'submit', token: secrets['the token of one caller among several'] }],
      }),
      [secretFiles.callbackSigningKey.file]: secrets['the key of callbacks'],
      [secretFiles.swiftTemporaryUrlKey.file]: secrets['the key of temporary URLs'],
      ...more,
    };
    for (const [file, content] of Object.entries(files)) await writeFile(join(path, file), content);
    return path;
  };
  // --- the service
  let amqpUrl = '';
  const fleet = stack.use(
    await startFleet({
      base,
      packages: () => [{ name: 'tells', scripts: { postinst: 'env; cat /proc/self/mountinfo; ps aux || :' } }],
      settings: async (rabbitMq) => {
        await rabbitMq.control(['add_user', amqpUser, amqpPassword]);
        await rabbitMq.control(['set_permissions', amqpUser, '.*', '.*', '.*']);
        amqpUrl = `amqp://${amqpUser}:${encodeURIComponent(amqpPassword)}@127.0.0.1:${rabbitMq.port}`;
        return {
          IMAGEBUILDER_SECRETS_DIRECTORY: await secretsDirectory('common', { [secretFiles.amqpUrl.file]: amqpUrl }),
          IMAGEBUILDER_LOG_LEVEL: 'debug',
          IMAGEBUILDER_CANCEL_POLL: '0.2',
          IMAGEBUILDER_CALLBACK_TIMEOUT: '2',
        };
      },
    }),
  );
  const status = stack.use(await startFunction({ handler: 'functions/status/handler.ts', env: fleet.settings }));
  const functions = () => [...fleet.functions, status];
  const watching = stack.use(scan.processes(() => functions().map(({ child }) => child.pid ?? 0)));

  // --- the callers' servers
  const calledBack: string[] = [];
  const server = createServer(async (request, response) => {
    const path = request.url ?? '';
    if (path.startsWith('/redirect')) {
      const password = secrets['the password in a redirect'];
      return void response.writeHead(302, { location: `http://user:${password}@127.0.0.1:9/image.qcow2` }).end();
    }
    if (path.startsWith('/cancel')) return void response.writeHead(500).end('not JSON');
    if (path.startsWith('/mirror')) return void response.writeHead(401).end();
    if (!path.startsWith('/callback')) return void response.writeHead(404).end();
    calledBack.push(JSON.stringify(request.headers) + (await text(request)));
    response.writeHead(path.startsWith('/callback-refused') ? 400 : 200).end();
  });
  const { port } = stack.use(await listen(server));
  const url = (path: string) => `http://127.0.0.1:${port}/${path}`;
  const mirror = `http://user:${secrets["the password in the image's own sources"]}@127.0.0.1:${port}/mirror`;
  const withMirror = stack.use(
    await startImageServer(await addSource(base, directory, `deb ${mirror} ${base.codename} main`)),
  );

  // --- builds, and calls that are refused
  const answers: string[] = [];
  const authorization = { authorization: `Bearer ${token}` };
  const submit = async (changes: Partial<BuildRequestInput>, headers = authorization) => {
    const request = fleet.request({
      package_list: ['libfoo', 'tells'],
      cancel_url: `${url('cancel')}?signature=${secrets['the signature in the cancel_url']}`,
      callback_url: `${url('callback')}?signature=${secrets['the signature in the callback URL']}`,
      ...changes,
    });
    const answer = await fleet.submit(request, headers);
    answers.push(answer.text);
    return answer;
  };
  const baseImage = (imageUrl: string): BuildRequestInput['base_image'] => ({
    image_type: 'cloud',
    url_list: [imageUrl],
    series: base.codename,
  });
  const signed = `signature=${secrets['the signature in a URL of the base image']}`;
  const run = async (changes: Partial<BuildRequestInput>) => {
    const { buildId } = await submit({ base_image: baseImage(`${fleet.images.url}?${signed}`), ...changes });
    const { event } = await fleet.ended(buildId);
    await fleet.notifications(buildId);
    return { buildId, event };
  };
  /** Ends with the code, and a word of the message where one is given. */
  const fails = async (changes: Partial<BuildRequestInput>, code: string) => {
    const { event } = await run(changes);
    assert.is(event.error?.code, code, `${event.state}: ${event.error?.message}`);
  };

  const userInfo = `http://user:${secrets['the password in a URL of a request']}@127.0.0.1/x`;
  const everywhere = { base_image: baseImage(userInfo), cancel_url: userInfo, callback_url: userInfo };
  const asLander = { authorization: `Bearer ${secrets['the token of one caller among several']}` };
  assert.is((await submit(everywhere, asLander)).status, 400);
  assert.is((await submit({}, { authorization: 'Bearer wrong' })).status, 401);

  const amqpFile = { [secretFiles.amqpUrl.file]: amqpUrl };
  const worker = async (
    name: string,
    files: Readonly<Record<string, string>>,
    more: Readonly<Record<string, string>>,
  ) =>
    await fleet.startWorker(name, {
      ...more,
      IMAGEBUILDER_SECRETS_DIRECTORY: await secretsDirectory(name, { ...amqpFile, ...files }),
    });

  // The leftovers of a worker that is killed while it fetches the base image.
  const killed = await worker('killed', password, openStack);
  fleet.images.hold();
  const first = run({});
  const parts = join(fleet.directory, 'cache', 'images', 'parts');
  const descriptions = async () =>
    (await readdir(parts).catch(() => [])).filter((name) => /^[0-9a-f]{64}\.json$/.test(name));
  while ((await descriptions()).length === 0) await sleep(5);
  killed.child.kill('SIGKILL');
  await killed.exited;
  const [description = ''] = await descriptions();
  const { size } = await stat(join(parts, description.replace('.json', '')));
  assert.ok(size < base.sizeBytes, 'killed in the middle of the download');
  await scan.folder(fleet.directory);
  fleet.images.release();

  // By password, into Glance.
  await worker('password', password, openStack);
  const { event: toGlance } = await first;
  assert.is(toGlance.attempt, 2);
  assert.is(toGlance.image?.store, 'glance', toGlance.error?.message);
  assertSigned(toGlance);
  await fails({ base_image: baseImage(withMirror.url) }, 'upstream.forbidden');
  await fails({ base_image: baseImage(`${url('nothing')}?${signed}`) }, 'image.not_found');
  await fails({ base_image: baseImage(`${url('redirect')}?${signed}`) }, 'upstream.unreachable');
  await fails(
    { callback_url: `${url('callback-refused')}?${signed}`, package_list: ['no-such-package'] },
    'apt.package',
  );
  const { buildId } = await submit({ base_image: baseImage(`${fleet.images.url}?${signed}`) });
  const address = fleet.functions[0]?.address ?? status.address;
  const deleted = await call(address, `/${buildId}`, { method: 'DELETE', headers: authorization });
  answers.push(deleted.body.toString());
  await fleet.ended(buildId);
  await fleet.killWorkers();

  // By a clouds.yaml, into Swift; by an application credential, right and wrong.
  await worker('clouds', { [secretFiles.openstackClouds.file]: cloudsYaml(cloud) }, { IMAGEBUILDER_STORE: 'swift' });
  const { event: toSwift } = await run({});
  assert.is(toSwift.image?.store, 'swift', toSwift.error?.message);
  await fleet.killWorkers();
  const application = {
    OS_AUTH_URL: cloud.authUrl,
    OS_REGION_NAME: cloud.region,
    OS_APPLICATION_CREDENTIAL_ID: credentialId,
    IMAGEBUILDER_STORE: 'glance',
  };
  const credentialFile = secretFiles.openstackApplicationCredentialSecret.file;
  await worker('credential', { [credentialFile]: secrets['the secret of an application credential'] }, application);
  assert.is((await run({})).event.state, 'completed');
  await fleet.killWorkers();
  await worker('wrong', { [credentialFile]: secrets['a wrong password of OpenStack'] }, application);
  await fails({}, 'store.refused');

  // --- the look
  for (const path of ['/', `/?build_id=${buildId}`, '/openapi.json', '/asyncapi.json', '/nothing']) {
    const { headers, body } = await call(status.address, path, { headers: authorization });
    answers.push(JSON.stringify(headers), body.toString());
  }
  answers.push((await call(address, `/${toSwift.build_id}`, { headers: authorization })).body.toString());
  await fleet.killWorkers();
  await watching[Symbol.asyncDispose]();
  for (const [index, answer] of answers.entries()) scan.text(`answer ${index}: ${answer.slice(0, 100)}`, answer);
  for (const { lines } of functions()) for (const line of lines) scan.text(`the log: ${line}`, line);
  for (const event of await fleet.mailbox.read()) scan.text(`event ${event.step}`, JSON.stringify(event));
  for (const record of await readStream(fleet.rabbitMq.url)) scan.text(`the stream: ${record}`, record);
  assert.ok(calledBack.length > 3);
  for (const body of calledBack) scan.text('a callback', body);
  await scan.folder(fleet.directory);
  await scan.folder(fleet.storeDirectory);

  const path = join(directory, 'built.qcow2');
  const raw = join(directory, 'built.raw');
  await cloud.command(['image', 'save', '--file', path, toGlance.image?.id ?? '']);
  await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, raw]);
  await scan.file(raw, 'the built image');
  assert.equal([...scan.found].filter((found) => !ofBase.test(found)).sort(), []);
});

test('the look finds a secret wherever it is', async () => {
  const secret = canary('known');
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    const base64 = ['', 'x', 'xy'].map((before) => Buffer.from(`${before}${secret}z`).toString('base64'));
    for (const content of [`a ${secret} b`, ...base64]) {
      const scan = scanFor({ it: secret });
      scan.text('there', content);
      assert.equal([...scan.found], ['it: there'], content);
    }
    const inFile = scanFor({ it: secret });
    // Across the border of what is read at once.
    await writeFile(join(directory, 'file'), Buffer.concat([Buffer.alloc(4 * 1024 * 1024 - 10), Buffer.from(secret)]));
    await inFile.folder(directory);
    assert.equal([...inFile.found], [`it: ${join(directory, 'file')}`]);
    const inProcess = scanFor({ it: secret });
    {
      await using _ = inProcess.processes(() => [process.pid]);
      await exec('sh', ['-c', 'sleep 1; :'], { env: { SECRET: secret } });
    }
    assert.ok(
      [...inProcess.found].some((where) => where.startsWith('it: the environment of sh')),
      'in an environment',
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

/** The keys were used. */
function assertSigned({ artifacts }: Pick<BuildEvent, 'artifacts'>): void {
  const roles = new Set<string>(artifacts?.map(({ role }) => role));
  assert.ok(roles.has('signature') && roles.has('provenance'), [...roles].join(', '));
}

/** Files of secrets with the password and with keys that sign images and provenance, and a scan for those keys, too. */
async function makeKeys() {
  await using keyring = await openKeyring();
  await keyring.gpg(['--quick-generate-key', 'images@example.org', 'rsa2048', 'sign', 'never']);
  const imageKey = await keyring.secretOf('images@example.org');
  const { privateKey } = generateKeyPairSync('ed25519');
  const provenanceKey = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  return {
    password: {
      [secretFiles.openstackPassword.file]: projects.builder.password,
      [secretFiles.imageSigningKey.file]: imageKey,
      [secretFiles.provenanceSigningKey.file]: provenanceKey,
    },
    scan: scanFor({
      ...secrets,
      'the key that signs images': lineOf(imageKey, 0.5),
      'the key that signs the provenance': lineOf(provenanceKey, 0),
    }),
  };
}

/** A line of base64 of an armoured key, at that part of all: that of an OpenPGP key begins with what is public. */
function lineOf(armoured: string, part: number): string {
  const lines = armoured.split('\n').filter((line) => line !== '' && !/^[-=]/.test(line));
  return lines[Math.floor(part * lines.length)] ?? '';
}

function cloudsYaml({ region, authUrl }: OpenStack): string {
  const { name, password } = projects.builder;
  const domains = { user_domain_name: 'Default', project_domain_name: 'Default' };
  const auth = { auth_url: authUrl, username: name, password, project_name: name, ...domains };
  return JSON.stringify({ clouds: { lab: { region_name: region, auth } } });
}

/** A copy of the image that has one more source. */
async function addSource(base: FleetBase, directory: string, source: string): Promise<string> {
  const raw = join(directory, 'mirror.raw');
  const list = join(directory, 'mirror.list');
  const path = join(directory, `with-mirror-${basename(base.path)}`);
  await writeFile(list, `${source}\n`);
  await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', base.path, raw]);
  const write = `write ${list} /etc/apt/sources.list.d/mirror.list`;
  await exec('debugfs', ['-w', '-R', write, `${raw}?offset=1048576`]);
  await exec('qemu-img', ['convert', '-c', '-m', '8', '-W', '-f', 'raw', '-O', 'qcow2', raw, path]);
  await rm(raw);
  await rm(list);
  return path;
}

/** Every message of the events stream. */
async function readStream(amqpUrl: string): Promise<string[]> {
  const connection = await connect(amqpUrl);
  try {
    const channel = await connection.createChannel();
    const { messageCount } = await channel.checkQueue(queues.events);
    const records: string[] = [];
    await channel.prefetch(100);
    const complete = Promise.withResolvers<void>();
    await channel.consume(
      queues.events,
      (message) => {
        if (message === null) return;
        records.push(message.content.toString());
        channel.ack(message);
        if (records.length >= messageCount) complete.resolve();
      },
      { arguments: { 'x-stream-offset': 'first' } },
    );
    await complete.promise;
    return records;
  } finally {
    await connection.close();
  }
}

test.run();
