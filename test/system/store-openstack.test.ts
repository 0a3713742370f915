import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { createSession } from '#lib/store/openstack/session.ts';
import { createTransport, type TransportRequest } from '#lib/store/openstack/transport.ts';
import { defaultTrust } from '#lib/trust.ts';
import { type OpenStack, startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { projects } from '../../lab/servers/openstack/template.ts';
import { startTinyproxy } from '../../lab/servers/tinyproxy.ts';
import { allText, never, quiet } from '../conformance/finished-build.ts';
import { quickRetry, storeInputs } from '../conformance/store-inputs.ts';
import { failure } from '../failure.ts';
import { connect } from './store-cloud.ts';

/** Authentication and catalogue against a real Keystone behind TLS with a CA of its own. */

let directory: string;
let cloud: OpenStack;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'store-openstack-'));
  cloud = await startOpenStack({ tls: await makeCertificate(directory) });
});
test.after(async () => {
  await cloud[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

type Environment = Record<string, string | undefined>;

/** The id of the project that a token of this configuration is for, with an image listed to prove that it works. */
async function projectBy(environment: Environment): Promise<string> {
  const { glanceStore, session } = await connect({ environment: {} }, { environment });
  await glanceStore.find('00000000-0000-4000-8000-000000000000', quiet);
  return session.projectId(quiet);
}

/** An application credential of the user, made with Debian's own client. */
async function makeCredential(name: string): Promise<{ id: string; secret: string }> {
  const made = await cloud.command(['application', 'credential', 'create', '-f', 'json', name]);
  return JSON.parse(made.stdout) as { id: string; secret: string };
}

test('a password opens a project, named or by ids', async () => {
  const project = await projectBy(cloud.environment);
  const shown = await cloud.command(['token', 'issue', '-f', 'json']);
  const { user_id: userId, project_id: projectId } = JSON.parse(shown.stdout);
  assert.is(project, projectId);
  const { OS_AUTH_URL, OS_PASSWORD, OS_CACERT } = cloud.environment;
  const ids = { OS_AUTH_URL, OS_PASSWORD, OS_CACERT, OS_USER_ID: userId, OS_PROJECT_ID: projectId };
  assert.is(await projectBy(ids), projectId);
  // Keystone's URL is written with and without its version.
  assert.is(await projectBy({ ...cloud.environment, OS_AUTH_URL: cloud.authUrl.replace(/v3$/, '') }), projectId);
});

test('an application credential opens its project, by id or by name, whatever project the environment names', async () => {
  const project = await projectBy(cloud.environment);
  const { id, secret } = await makeCredential('for-tests');
  const { OS_AUTH_URL, OS_CACERT, OS_USERNAME, OS_USER_DOMAIN_NAME, OS_PROJECT_NAME } = cloud.environment;
  const credential = {
    OS_AUTH_TYPE: 'v3applicationcredential',
    OS_AUTH_URL,
    OS_CACERT,
    OS_APPLICATION_CREDENTIAL_SECRET: secret,
  };
  assert.is(await projectBy({ ...credential, OS_APPLICATION_CREDENTIAL_ID: id }), project);
  const named = { ...credential, OS_APPLICATION_CREDENTIAL_NAME: 'for-tests', OS_USERNAME, OS_USER_DOMAIN_NAME };
  assert.is(await projectBy(named), project);
  // A scope beside it would be refused by Keystone.
  assert.is(await projectBy({ ...named, OS_PROJECT_NAME }), project);

  const wrong = { ...credential, OS_APPLICATION_CREDENTIAL_ID: id, OS_APPLICATION_CREDENTIAL_SECRET: 'wrong-secret' };
  const error = await failure(projectBy(wrong));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, 'does not accept the application credential or its secret');
  assert.not.match(allText(error), 'wrong-secret');
});

test('clouds.yaml and secure.yaml open a project', async () => {
  const folder = join(directory, 'files');
  await mkdir(folder);
  const { OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, OS_CACERT } = cloud.environment;
  await writeFile(
    join(folder, 'clouds.yaml'),
    `clouds:
  lab:
    auth:
      auth_url: ${OS_AUTH_URL}
      username: ${OS_USERNAME}
      project_name: ${OS_PROJECT_NAME}
      user_domain_name: Default
      project_domain_name: Default
    region_name: ${cloud.region}
    cacert: ${OS_CACERT}
`,
  );
  await writeFile(join(folder, 'secure.yaml'), `clouds: {lab: {auth: {password: ${OS_PASSWORD}}}}\n`);
  const files = {
    OS_CLOUD: 'lab',
    OS_CLIENT_CONFIG_FILE: join(folder, 'clouds.yaml'),
    OS_CLIENT_SECURE_FILE: join(folder, 'secure.yaml'),
  };
  assert.is(await projectBy(files), await projectBy(cloud.environment));
});

/** Prints what openstacksdk makes of each environment, a JSON object of variables. */
const sdk = `
import json, os, sys
from openstack.config import OpenStackConfig
from openstack.config.cloud_region import CloudRegion
found = []
for environment in json.loads(sys.argv[1]):
    for name in [name for name in os.environ if name.startswith('OS_')]: del os.environ[name]
    os.environ.update(environment)
    config = OpenStackConfig(config_files=[], secure_files=[], vendor_files=[]).get_one(environment.get('OS_CLOUD'), region_name=environment.get('OS_REGION_NAME'))
    auth = config.config['auth']
    found.append({
        'auth_url': auth['auth_url'], 'username': auth.get('username'), 'project': auth.get('project_name') or auth.get('project_id'),
        'image': [config.get_region_name('image'), config.get_interface('image'), config.get_endpoint('image'), config.get_service_name('image')],
        'object-store': [config.get_region_name('object-store'), config.get_interface('object-store'), config.get_endpoint('object-store'), config.get_service_name('object-store')],
        'tls': config.get_requests_verify_args()[0],
    })
print(json.dumps(found))
`;

test('openstacksdk reads the same out of clouds of every kind', async () => {
  const folder = join(directory, 'sdk');
  await mkdir(folder);
  const at = (name: string) => join(folder, name);
  const { OS_CACERT: ca } = cloud.environment;
  const auth = 'username: u, password: p, project_name: images, user_domain_name: D, project_domain_name: D';
  await writeFile(
    at('clouds.yaml'),
    `clouds:
  plain: {auth: {auth_url: 'http://k/v3', ${auth}}, region_name: r1, interface: internal, cacert: ${ca}}
  services:
    auth: {auth_url: 'http://k/v3', ${auth}}
    region_name: r1
    image_endpoint_override: http://glance/
    image_interface: admin
    image_region_name: r2
    object_store_interface: internal
    object_store_service_name: ceph
    image_api_version: 2
  regions:
    auth: {auth_url: 'https://{region_name}.example/v3', ${auth}}
    regions:
      - {name: r1, values: {image_interface: internal, auth: {project_name: first}}}
      - r2
  older: {auth: {auth-url: 'http://k/v3', username: u, password: p, tenant_name: images, domain_name: D}, endpoint_type: internal, image-interface: public}
`,
  );
  await writeFile(at('secure.yaml'), 'clouds: {plain: {auth: {username: secure}, image_interface: admin}}');
  const files = { OS_CLIENT_CONFIG_FILE: at('clouds.yaml'), OS_CLIENT_SECURE_FILE: at('secure.yaml') };
  const variables = {
    ...{ OS_AUTH_URL: 'http://k/v3', OS_USERNAME: 'u', OS_PASSWORD: 'p', OS_TENANT_NAME: 'images' },
    ...{
      OS_USER_DOMAIN_NAME: 'D',
      OS_PROJECT_DOMAIN_NAME: 'D',
      OS_REGION_NAME: 'r1',
      OS_IMAGE_ENDPOINT_OVERRIDE: 'http://g/',
    },
  };
  const environments = [
    ...['plain', 'services', 'regions', 'older'].map((name) => ({ ...files, OS_CLOUD: name })),
    { ...files, OS_CLOUD: 'regions', OS_REGION_NAME: 'r2' },
    variables,
  ];
  const { stdout } = await exec('/usr/bin/python3', ['-W', 'ignore', '-c', sdk, JSON.stringify(environments)]);
  const expected = JSON.parse(stdout) as object[];
  for (const [index, environment] of environments.entries()) {
    const { openStack } = await storeInputs(environment);
    assert.ok(openStack?.identity.kind === 'password');
    const { user, scope } = openStack.identity;
    const services = Object.entries(openStack.services).map(([type, choice]) => {
      const endpoint = choice.endpoint === null ? null : `${choice.endpoint}/`;
      return [type, [choice.region ?? '', choice.interface, endpoint, choice.catalogueName]] as const;
    });
    const ours = {
      auth_url: openStack.authUrl,
      username: 'name' in user ? user.name : null,
      project: 'project' in scope && 'name' in scope.project ? scope.project.name : null,
      ...Object.fromEntries(services),
      tls: openStack.trust === null ? true : ca,
    };
    assert.equal(ours, expected[index], JSON.stringify(environment));
  }
});

test('an endpoint of the settings is used in place of the catalogue, and a token in place of a password', async () => {
  const issued = await cloud.command(['token', 'issue', '-f', 'value', '-c', 'id']);
  const { OS_USERNAME: _, OS_PASSWORD: __, ...rest } = cloud.environment;
  const environment = {
    ...{ ...rest, OS_AUTH_TYPE: 'v3token', OS_TOKEN: issued.stdout.trim(), OS_REGION_NAME: 'elsewhere' },
    OS_IMAGE_ENDPOINT_OVERRIDE: `${cloud.glanceUrl}/v2/`,
  };
  assert.ok(await projectBy(environment), 'in a region that the catalogue lacks');
  const wrong = await failure(projectBy({ ...environment, OS_TOKEN: 'wrong-token' }));
  assert.is(wrong.code, 'store.refused');
  assert.not.match(allText(wrong), 'wrong-token');
});

test('a wrong password is refused at once, and stands in no error', async () => {
  const error = await failure(projectBy({ ...cloud.environment, OS_PASSWORD: 'wrong-password' }));
  assert.is(error.code, 'store.refused');
  assert.not.ok(error.retryable);
  assert.match(error.message, 'does not accept the user, password or project of the OS_* variables');
  assert.not.match(allText(error), 'wrong-password');
});

test('a region or interface that the catalogue lacks is reported with those that it has', async () => {
  const region = await failure(projectBy({ ...cloud.environment, OS_REGION_NAME: 'elsewhere' }));
  assert.is(region.code, 'store.refused');
  assert.match(region.message, 'no public endpoint of image (Glance) in the region elsewhere');
  assert.match(region.message, `public in ${cloud.region}`);
  for (const name of ['public', 'internal', 'admin']) {
    assert.ok(await projectBy({ ...cloud.environment, OS_INTERFACE: name }));
  }
  assert.ok(await projectBy({ ...cloud.environment, OS_REGION_NAME: '' }), 'the only region needs no name');
});

test('a certificate of an unknown CA is refused, and the error says what to set', async () => {
  const error = await failure(projectBy({ ...cloud.environment, OS_CACERT: '' }));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, 'OS_CACERT');
});

test('a URL at which another server answers is reported as that', async () => {
  const error = await failure(projectBy({ ...cloud.environment, OS_AUTH_URL: cloud.glanceUrl }));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, `Keystone at ${cloud.glanceUrl}/v3/auth/tokens answered`);
});

test('a token is asked for once, by many callers at once, and kept', async () => {
  const { session, sent } = await recordingSession();
  await Promise.all(Array.from({ length: 5 }, () => session.send('image', list)));
  await session.send('image', list);
  assert.is(sent.filter(({ server }) => server === 'Keystone').length, 1);
});

test('a token is replaced shortly before it expires', async () => {
  await cloud.setTokenLifetime(3);
  const { session, sent } = await recordingSession();
  await session.send('image', list);
  await sleep(2_600);
  await session.send('image', list);
  await cloud.setTokenLifetime(3600);
  assert.is(sent.filter(({ server }) => server === 'Keystone').length, 2);
  assert.equal([...new Set(sent.map(({ status }) => status))].sort(), [200, 201], 'none was refused');
});

test('a token that was revoked is renewed and the call repeated', async () => {
  const { session, sent, transport } = await recordingSession();
  await session.send('image', list);
  const token = sent.at(-1)?.token ?? '';
  const revoked = await transport.send({
    server: 'Keystone',
    method: 'DELETE',
    url: `${cloud.authUrl}/auth/tokens`,
    headers: { 'x-auth-token': token, 'x-subject-token': token },
    signal: never,
  });
  assert.is(revoked.status, 204);
  await session.send('image', list);
  const statuses = sent.slice(-3).map(({ server, status }) => `${server} ${status}`);
  assert.equal(statuses, ['Glance 401', 'Keystone 201', 'Glance 200']);
});

test('a caller that gives up waiting for a token does not take it from the others', async () => {
  const { session } = await recordingSession();
  const gone = new AbortController();
  const waiting = session.projectId({ signal: gone.signal });
  const other = session.projectId(quiet);
  const reason = new Error('gone');
  gone.abort(reason);
  await waiting.then(
    () => assert.unreachable(),
    (error) => assert.is(error, reason),
  );
  assert.ok(await other);
});

const list = { method: 'GET', path: '/v2/images?limit=1', signal: never } as const;

interface Sent {
  readonly server: string;
  readonly token: string;
  readonly status: number;
}

/** A session that records its requests. */
async function recordingSession() {
  const { openStack: configuration } = await storeInputs(cloud.environment);
  assert.ok(configuration);
  const transport = createTransport({
    trust: { ...defaultTrust, only: configuration.trust?.only ?? null },
    connectTimeoutMs: 10_000,
    stallTimeoutMs: 10_000,
    userAgent: 'imagebuilder-test',
  });
  const sent: Sent[] = [];
  const recording = {
    ...transport,
    async send(request: TransportRequest) {
      const answer = await transport.send(request);
      sent.push({ server: request.server, token: String(request.headers?.['x-auth-token']), status: answer.status });
      return answer;
    },
  };
  return { session: createSession({ configuration, transport: recording, retry: quickRetry }), sent, transport };
}

/** `imagebuilder store check` with these variables. */
async function check(environment: Environment) {
  const result = await execa(process.execPath, ['bin/imagebuilder.ts', 'store', 'check'], {
    cwd: join(import.meta.dirname, '../..'),
    env: { PATH: process.env.PATH, HOME: directory, ...environment },
    extendEnv: false,
    reject: false,
    all: true,
  });
  assert.not.match(result.all, projects.builder.password);
  return { exitCode: result.exitCode, lines: result.stdout.split('\n'), all: result.all };
}

test('store check says step by step that all is well', async () => {
  const { exitCode, lines, all } = await check(cloud.environment);
  assert.is(exitCode, 0, all);
  const looked = lines.map((line) => line.replace(/:.*/, ''));
  assert.equal(looked, [
    'ok    settings',
    'ok    Keystone',
    'ok    Glance',
    'ok    Glance quota',
    'ok    beside Glance',
    'ok    Glance upload',
    'ok    Swift',
    'ok    Swift quota',
    'ok    Swift upload',
  ]);
});

test('store check, and so a build, reaches OpenStack through a proxy of the network, which gets a password of its own', async () => {
  await using proxy = await startTinyproxy('builder', 'proxy-password');
  const address = (password: string) => `http://builder:${password}@127.0.0.1:${proxy.port}`;
  const through = (password: string) => ({ https_proxy: address(password), http_proxy: address(password) });
  const { exitCode, all } = await check({ ...cloud.environment, ...through('proxy-password') });
  assert.is(exitCode, 0, all);
  const requests = await proxy.requests();
  const { host } = new URL(cloud.authUrl);
  assert.ok(requests.includes(`CONNECT ${host} HTTP/1.1`), requests.join('\n'));
  assert.ok(requests.includes(`POST ${cloud.glanceUrl}/v2/images HTTP/1.1`), requests.join('\n'));
  assert.ok(requests.some((line) => line.startsWith(`PUT ${cloud.glanceUrl}/v2/images/`)));

  const wrong = await check({ ...cloud.environment, ...through('wrong-password') });
  assert.is(wrong.exitCode, 1);
  assert.match(wrong.all, `the proxy http://127.0.0.1:${proxy.port} answered 40`);
  assert.not.match(wrong.all, 'wrong-password');
  const around = await check({ ...cloud.environment, ...through('wrong-password'), no_proxy: '127.0.0.1' });
  assert.is(around.exitCode, 0, around.all);
});

test('store check ends with the first thing that is wrong, in plain words', async () => {
  const region = await check({ ...cloud.environment, OS_REGION_NAME: 'elsewhere' });
  assert.is(region.exitCode, 1);
  assert.match(region.lines.at(-1) ?? '', /^FAIL {2}Glance: the catalogue has no public endpoint/);
  const password = await check({ ...cloud.environment, OS_PASSWORD: 'wrong-password' });
  assert.is(password.exitCode, 1);
  assert.match(password.lines.at(-1) ?? '', /^FAIL {2}Keystone: .* does not accept the user, password or project/);
  assert.not.match(password.all, 'wrong-password');
  const faulty = await check({ OS_AUTH_URL: cloud.authUrl, OS_USERNAME: 'somebody' });
  assert.is(faulty.exitCode, 2);
  assert.match(faulty.all, 'OS_PASSWORD is missing');
});

test('store check without OpenStack looks at the file store', async () => {
  const store = join(directory, 'file-store');
  const { exitCode, lines, all } = await check({ IMAGEBUILDER_STORE_DIRECTORY: store });
  assert.is(exitCode, 0, all);
  assert.match(lines[0] ?? '', `images go to the file store ${store}, as no OpenStack is configured`);
  assert.match(lines[1] ?? '', /^ok {4}file store: /);
});

/** A CA, and a certificate of it for 127.0.0.1. */
async function makeCertificate(folder: string) {
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => exec('openssl', args);
  await openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.pem'),
    '-days',
    '2',
    '-subj',
    '/CN=Test CA',
  );
  await openssl(
    'req',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    at('server.key'),
    '-out',
    at('server.csr'),
    '-subj',
    '/CN=127.0.0.1',
  );
  await writeFile(at('extensions'), 'subjectAltName=IP:127.0.0.1\n');
  await openssl(
    'x509',
    '-req',
    '-in',
    at('server.csr'),
    '-CA',
    at('ca.pem'),
    '-CAkey',
    at('ca.key'),
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    at('extensions'),
    '-out',
    at('server.pem'),
  );
  return { certificate: at('server.pem'), key: at('server.key'), certificateAuthority: at('ca.pem') };
}

test.run();
