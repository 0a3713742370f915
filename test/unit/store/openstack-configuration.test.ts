import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { type ConfigurationInputs, readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import { makeCertificate } from '../fetch/certificate.ts';

let directory = '';

test.before.each(async () => {
  directory = await mkdtemp(join(tmpdir(), 'openstack-configuration-'));
});
test.after.each(() => rm(directory, { recursive: true, force: true }));

const read = (environment: Record<string, string>, rest: Partial<ConfigurationInputs> = {}) =>
  readOpenStackConfiguration({
    environment: { HOME: directory, ...environment },
    clouds: null,
    password: null,
    applicationCredentialSecret: null,
    ...rest,
  });

async function faults(promise: Promise<unknown>): Promise<ImageBuilderError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ImageBuilderError && error.code === 'config.invalid') return error;
    throw error;
  }
  throw new Error('did not fail');
}

const openrc = {
  OS_AUTH_URL: 'https://keystone.example:5000',
  OS_USERNAME: 'builder',
  OS_PASSWORD: 'hidden-password',
  OS_PROJECT_NAME: 'images',
  OS_USER_DOMAIN_NAME: 'Default',
  OS_PROJECT_DOMAIN_ID: 'default',
  OS_REGION_NAME: 'north',
};

const service = (catalogueType: string) =>
  ({ catalogueType, catalogueName: null, region: 'north', interface: 'public', endpoint: null }) as const;

test('without OS_CLOUD, OS_AUTH_URL and secret there is no OpenStack', async () => {
  assert.is(await read({}), null);
  assert.is(await read({ OS_REGION_NAME: 'north', OS_AUTH_URL: '', OS_CLOUD: '' }), null);
});

test('the variables of an openrc file are read, with /v3 put behind the URL', async () => {
  const configuration = await read(openrc);
  assert.equal(configuration, {
    source: 'the OS_* variables',
    authUrl: 'https://keystone.example:5000/v3',
    identity: {
      kind: 'password',
      user: { name: 'builder', domain: { name: 'Default' } },
      password: 'hidden-password',
      scope: { project: { name: 'images', domain: { id: 'default' } } },
    },
    services: { image: service('image'), 'object-store': service('object-store') },
    trust: null,
    secrets: ['hidden-password'],
  });
});

test('URLs of Keystone are taken with and without version and slash', async () => {
  for (const [given, expected] of [
    ['http://host/identity', 'http://host/identity/v3'],
    ['http://host/identity/v3/', 'http://host/identity/v3'],
    ['http://host:5000/', 'http://host:5000/v3'],
  ] as const) {
    assert.is((await read({ ...openrc, OS_AUTH_URL: given }))?.authUrl, expected);
  }
});

test('an application credential carries no scope', async () => {
  const base = { OS_AUTH_URL: openrc.OS_AUTH_URL, OS_APPLICATION_CREDENTIAL_SECRET: 'hidden-secret' };
  const byId = await read({ ...base, OS_APPLICATION_CREDENTIAL_ID: 'abc', OS_PROJECT_NAME: 'images' });
  assert.equal(byId?.identity, { kind: 'application_credential', credential: { id: 'abc' }, secret: 'hidden-secret' });
  assert.equal(byId?.secrets, ['hidden-secret']);
  const byName = await read({ ...base, OS_APPLICATION_CREDENTIAL_NAME: 'worker', OS_USER_ID: 'u1' });
  assert.equal(byName?.identity, {
    kind: 'application_credential',
    credential: { name: 'worker', user: { id: 'u1' } },
    secret: 'hidden-secret',
  });
});

test('secrets in files win over the environment', async () => {
  const configuration = await read(openrc, { password: 'from-a-file' });
  assert.is(configuration?.identity.kind === 'password' && configuration.identity.password, 'from-a-file');
  assert.equal(configuration?.secrets, ['from-a-file']);
});

test('every fault is reported at once, by the name of its variable, and without secrets', async () => {
  const error = await faults(
    read({
      ...openrc,
      OS_AUTH_URL: 'https://user:hidden-in-url@keystone.example',
      OS_PROJECT_NAME: '',
      OS_INTERFACE: 'secret',
      OS_IDENTITY_API_VERSION: '2',
      OS_INSECURE: 'true',
      OS_CACERT: join(directory, 'missing.pem'),
    }),
  );
  const paths = error.faults.map(({ path }) => path).sort();
  assert.equal(paths, [
    'OS_AUTH_URL',
    'OS_CACERT',
    'OS_IDENTITY_API_VERSION',
    'OS_INSECURE',
    'OS_INTERFACE',
    'OS_PROJECT_NAME',
  ]);
  assert.not.match(error.message, 'hidden');
});

test('an auth type that is not supported is refused by name', async () => {
  const refused = [
    'v3oidcpassword',
    'v3oidcaccesstoken',
    'v3totp',
    'v3multifactor',
    'v2password',
    'none',
    'v3kerberos',
  ];
  for (const type of refused) {
    const error = await faults(read({ ...openrc, OS_AUTH_TYPE: type }));
    assert.match(
      error.message,
      `OS_AUTH_TYPE must be one of password, v3password, token, v3token, v3applicationcredential, not ${type}`,
    );
  }
});

test('a token opens a project, too', async () => {
  const { OS_PASSWORD: _, ...rest } = openrc;
  for (const type of ['token', 'v3token', '']) {
    const configuration = await read({ ...rest, OS_AUTH_TYPE: type, OS_TOKEN: 'hidden-token' });
    const scope = { project: { name: 'images', domain: { id: 'default' } } };
    assert.equal(configuration?.identity, { kind: 'token', token: 'hidden-token', scope });
    assert.equal(configuration?.secrets, ['hidden-token']);
  }
  assert.match((await faults(read({ ...rest, OS_AUTH_TYPE: 'v3token' }))).message, 'OS_TOKEN is missing');
});

test('a trust is a scope, and a domain or the system is none', async () => {
  const { OS_PROJECT_NAME: _, OS_PROJECT_DOMAIN_ID: __, ...rest } = openrc;
  const trust = await read({ ...rest, OS_TRUST_ID: 't1' });
  assert.equal(trust?.identity.kind === 'password' && trust.identity.scope, { 'OS-TRUST:trust': { id: 't1' } });
  for (const [name, value] of [
    ['OS_SYSTEM_SCOPE', 'all'],
    ['OS_DOMAIN_ID', 'd1'],
    ['OS_DOMAIN_NAME', 'd1'],
  ] as const) {
    assert.match((await faults(read({ ...rest, [name]: value }))).message, `${name} is no scope for images`);
  }
  assert.match((await faults(read({ ...openrc, OS_SYSTEM_SCOPE: 'all' }))).message, 'must not stand beside a project');
});

test('older names of variables mean the same', async () => {
  const { OS_PROJECT_NAME: _, ...rest } = openrc;
  const older = { ...rest, OS_TENANT_NAME: 'images', OS_ENDPOINT_TYPE: 'internalURL', OS_IMAGE_API_VERSION: '2' };
  const configuration = await read(older);
  assert.is(configuration?.services.image.interface, 'internal');
  assert.equal(configuration?.identity, (await read(openrc))?.identity);
});

test('a service may have an endpoint, an interface, a region, a type and a name of its own', async () => {
  const own = await read({
    ...openrc,
    OS_INTERFACE: 'internal',
    OS_IMAGE_ENDPOINT_OVERRIDE: 'https://glance.example/v2/',
    OS_IMAGE_INTERFACE: 'admin',
    OS_OBJECT_STORE_REGION_NAME: 'south',
    OS_OBJECT_STORE_SERVICE_NAME: 'ceph',
    OS_OBJECT_STORE_SERVICE_TYPE: 's3',
  });
  assert.equal(own?.services, {
    image: { ...service('image'), interface: 'admin', endpoint: 'https://glance.example/v2' },
    'object-store': { ...service('s3'), region: 'south', interface: 'internal', catalogueName: 'ceph' },
  });
  for (const [name, value, message] of [
    ['OS_IMAGE_API_VERSION', '1', 'OS_IMAGE_API_VERSION must be 2'],
    ['OS_OBJECT_STORE_API_VERSION', '2', 'OS_OBJECT_STORE_API_VERSION must be 1'],
    ['OS_IMAGE_ENDPOINT_OVERRIDE', 'glance.example', 'OS_IMAGE_ENDPOINT_OVERRIDE must be an http or https URL'],
    ['OS_IMAGE_INTERFACE', 'secret', 'OS_IMAGE_INTERFACE must be one of'],
    ['OS_IMAGE_API_USE_TASKS', 'True', 'OS_IMAGE_API_USE_TASKS must be false'],
  ] as const) {
    assert.match((await faults(read({ ...openrc, [name]: value }))).message, message);
  }
});

const clouds = `clouds:
  north:
    auth: {auth_url: 'https://north.example/v3', username: builder, project_id: 1234, user_domain_id: default}
    region_name: n1
    interface: internal
  south:
    auth_type: v3applicationcredential
    auth: {auth_url: 'https://south.example/v3', application_credential_id: abc, application_credential_secret: hidden}
`;

test('a clouds.yaml is found in the home folder, and completed by its secure.yaml', async () => {
  const folder = join(directory, '.config/openstack');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'clouds.yaml'), clouds);
  await writeFile(join(folder, 'secure.yaml'), 'clouds: {north: {auth: {password: 4711}}}');
  const north = await read({ OS_CLOUD: 'north' });
  assert.is(north?.authUrl, 'https://north.example/v3');
  assert.equal([north?.services.image.region, north?.services.image.interface], ['n1', 'internal']);
  assert.equal(north?.identity, {
    kind: 'password',
    user: { name: 'builder', domain: { id: 'default' } },
    password: '4711',
    scope: { project: { id: '1234' } },
  });
  assert.is((await read({ OS_CLOUD: 'north', OS_REGION_NAME: 'n2' }))?.services.image.region, 'n2');
  const missing = await faults(read({ OS_CLOUD: 'west' }));
  assert.match(missing.message, /has no cloud west; it has north, south/);
});

test('a clouds.yaml may be a secret; where it has several clouds, one must be named', async () => {
  const south = await read({ OS_CLOUD: 'south' }, { clouds });
  assert.is(south?.source, 'the cloud south of the secret openstack-clouds');
  assert.match((await faults(read({}, { clouds }))).message, 'several clouds (north, south); choose with OS_CLOUD');
  const only = clouds.replace(/ {2}north:.*(?= {2}south)/s, '');
  assert.is((await read({}, { clouds: only }))?.authUrl, 'https://south.example/v3');
});

test('a clouds.yaml that is missing, broken or incomplete is refused, without quoting its text', async () => {
  assert.match((await faults(read({ OS_CLOUD: 'x' }))).message, /there is no clouds\.yaml: looked for .*clouds\.yaml/);
  for (const text of ['clouds: {x: {auth: {password: hidden}', 'clouds: [hidden]', 'hidden']) {
    const error = await faults(read({ OS_CLOUD: 'x' }, { clouds: text }));
    assert.not.match(error.message, 'hidden');
    assert.is(error.cause, undefined);
  }
  const incomplete = await faults(read({ OS_CLOUD: 'north' }, { clouds }));
  assert.equal(
    incomplete.faults.map(({ path }) => path),
    ['auth.password'],
  );
});

const oneCloud = (lines: string) => `clouds:
  lab:
    auth: {auth_url: 'https://{region_name}.example/v3', username: u, password: hidden, project_id: p1, user_domain_id: default}
${lines.replace(/^(?=.)/gm, '    ')}
`;

test('single variables win over the cloud, and displace the other way to say the same', async () => {
  const secret = { clouds: oneCloud('region_name: n1\nimage_endpoint_override: http://a/') };
  const over = await read(
    {
      ...{
        OS_CLOUD: 'lab',
        OS_PROJECT_NAME: 'other',
        OS_PROJECT_DOMAIN_NAME: 'd',
        OS_USERNAME: 'me',
        OS_PASSWORD: 'hidden2',
      },
      ...{ OS_INTERFACE: 'internal', OS_IMAGE_ENDPOINT_OVERRIDE: 'http://b/' },
    },
    secret,
  );
  assert.equal(over?.identity, {
    kind: 'password',
    user: { name: 'me', domain: { id: 'default' } },
    password: 'hidden2',
    scope: { project: { name: 'other', domain: { name: 'd' } } },
  });
  assert.equal([over?.authUrl, over?.services.image.endpoint], ['https://n1.example/v3', 'http://b']);
  assert.is(over?.services.image.interface, 'internal');
  const fault = await faults(read({ OS_CLOUD: 'lab', OS_INTERFACE: 'x' }, secret));
  assert.match(fault.message, 'OS_INTERFACE must be one of', 'by the name of the one that counts');
});

test('a region has values of its own, and the first is the default', async () => {
  const lines = `regions:
- name: n1
  values: {image_endpoint_override: 'http://n1/', auth: {project_id: p2}}
- n2`;
  const secret = { clouds: oneCloud(lines) };
  const projectOf = (configuration: Awaited<ReturnType<typeof read>>) =>
    configuration?.identity.kind === 'password' && configuration.identity.scope;
  const first = await read({ OS_CLOUD: 'lab' }, secret);
  assert.equal([first?.authUrl, first?.services.image.endpoint], ['https://n1.example/v3', 'http://n1']);
  assert.equal(projectOf(first), { project: { id: 'p2' } });
  const second = await read({ OS_CLOUD: 'lab', OS_REGION_NAME: 'n2' }, secret);
  assert.equal([second?.services.image.region, second?.services.image.endpoint], ['n2', null]);
  assert.equal(projectOf(second), { project: { id: 'p1' } });
  assert.match(
    (await faults(read({ OS_CLOUD: 'lab', OS_REGION_NAME: 'n3' }, secret))).message,
    'no region n3; it has n1, n2',
  );
  const both = { clouds: oneCloud(`region_name: n2\n${lines}`) };
  assert.match((await faults(read({ OS_CLOUD: 'lab' }, both))).message, 'choose with OS_REGION_NAME');
});

test('a profile of clouds-public.yaml is built on, and one that is nowhere is refused by name', async () => {
  const folder = join(directory, '.config/openstack');
  await mkdir(folder, { recursive: true });
  const own = { clouds: 'clouds: {x: {profile: vendor, auth: {username: u, password: hidden, project_id: p}}}' };
  assert.match(
    (await faults(read({}, own))).message,
    'builds on the profile vendor, but there is no clouds-public.yaml',
  );
  const profile =
    'public-clouds: {vendor: {auth: {auth_url: https://v.example, user_domain_name: V}, interface: internal}}';
  await writeFile(join(folder, 'clouds-public.yaml'), profile);
  const configuration = await read({}, own);
  assert.is(configuration?.authUrl, 'https://v.example/v3');
  assert.is(configuration?.services.image.interface, 'internal');
});

test('what a cloud says and Image Builder cannot do is refused by name', async () => {
  for (const [lines, message] of [
    ['verify: false', 'verify must not turn certificate checks off'],
    ['insecure: true', 'insecure must not turn certificate checks off'],
    ['image_api_version: 1', 'image_api_version must be 2'],
    ['image_surprise: 1', 'image_surprise is not supported'],
    ['object_store_surprise: x', 'object_store_surprise is not supported'],
    ['interface: [internal, public]', 'interface must be text'],
    ['auth_type: v3oidcclientcredentials', 'auth_type must be one of'],
    ['key: /x', 'key needs cert'],
    ['cert: /missing.pem', 'cert /missing.pem cannot be read (ENOENT)'],
  ] as const) {
    const error = await faults(read({}, { clouds: oneCloud(`region_name: r\n${lines}`) }));
    assert.match(error.message, message);
    assert.not.match(error.message, 'hidden');
  }
  const passcode = oneCloud('region_name: r').replace('username: u', 'username: u, passcode: hidden');
  assert.match((await faults(read({}, { clouds: passcode }))).message, 'auth.passcode is not supported');
});

test('a CA is read from its file and must be one', async () => {
  const path = join(directory, 'ca.pem');
  const { cert, key } = makeCertificate();
  await writeFile(path, cert);
  await writeFile(join(directory, 'key.pem'), key);
  assert.equal((await read({ ...openrc, OS_CACERT: path }))?.trust, { only: cert, client: null });
  assert.equal((await read({ ...openrc, OS_CACERT: '~/ca.pem', OS_CERT: path, OS_KEY: '~/key.pem' }))?.trust, {
    only: cert,
    client: { certificate: cert, key },
  });
  await writeFile(path, 'no certificate');
  assert.match((await faults(read({ ...openrc, OS_CACERT: path }))).message, 'holds no PEM certificate');
});

test.run();
