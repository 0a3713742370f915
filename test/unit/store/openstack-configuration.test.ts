import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { type ConfigurationInputs, readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';

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
    region: 'north',
    interface: 'public',
    certificateAuthority: null,
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

test('an auth type that is not supported is refused', async () => {
  const error = await faults(read({ ...openrc, OS_AUTH_TYPE: 'v3oidcpassword' }));
  assert.match(error.message, 'OS_AUTH_TYPE must be password or v3applicationcredential, not v3oidcpassword');
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
  assert.is(north?.region, 'n1');
  assert.is(north?.interface, 'internal');
  assert.equal(north?.identity, {
    kind: 'password',
    user: { name: 'builder', domain: { id: 'default' } },
    password: '4711',
    scope: { project: { id: '1234' } },
  });
  assert.is((await read({ OS_CLOUD: 'north', OS_REGION_NAME: 'n2' }))?.region, 'n2');
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

test('a CA is read from its file and must be one', async () => {
  const path = join(directory, 'ca.pem');
  await writeFile(path, '-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n');
  assert.match((await read({ ...openrc, OS_CACERT: path }))?.certificateAuthority ?? '', 'BEGIN CERTIFICATE');
  await writeFile(path, 'no certificate');
  assert.match((await faults(read({ ...openrc, OS_CACERT: path }))).message, 'holds no PEM certificate');
});

test.run();
