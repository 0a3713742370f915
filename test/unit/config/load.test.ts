import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { secretFiles } from '#lib/config/secrets.ts';
import type { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { failure } from '../../failure.ts';
import { craftSecretKey } from '../../openpgp/craft-key.ts';
import { makeCertificate } from '../fetch/certificate.ts';

test('without any environment every setting has its default', () => {
  const config = loadConfig({});
  assert.is(config.worker.heartbeatMs, 20_000);
  assert.is(config.folders.imageCacheBytes, 20 * 1024 ** 3);
  assert.equal(config.egress.allowedHosts, []);
  assert.is(config.callers.token, null);
});

test('private addresses are allowed all, none, or by range', () => {
  const read = (value: string) => loadConfig({ IMAGEBUILDER_EGRESS_ALLOW_PRIVATE: value }).egress.allowedPrivate;
  assert.equal(['', 'true', 'false', '10.1.2.0/24, fd12::/64 10.9.9.9'].map(read), [
    undefined,
    undefined,
    [],
    ['10.1.2.0/24', 'fd12::/64', '10.9.9.9'],
  ]);
  for (const value of ['some', 'true,10.0.0.0/8', '10.0.0.0/33', '10.0.0.0/8/8', '10.0.0.0/', 'fe80::1%lo', '10/8']) {
    assert.throws(() => read(value), /IMAGEBUILDER_EGRESS_ALLOW_PRIVATE must be true, false, or/, value);
  }
});

test('every fault is reported at once, with its variable', () => {
  try {
    loadConfig({
      IMAGEBUILDER_GUEST: 'chroot',
      IMAGEBUILDER_BUILD_TIMEOUT: 'soon',
      IMAGEBUILDER_IMAGE_CACHE_SIZE: '20 gigabytes',
      IMAGEBUILDER_HEARTBEAT: '120',
    });
    assert.unreachable();
  } catch (error) {
    const paths = (error as ImageBuilderError).faults.map((fault) => fault.path);
    for (const variable of [
      'IMAGEBUILDER_GUEST',
      'IMAGEBUILDER_BUILD_TIMEOUT',
      'IMAGEBUILDER_IMAGE_CACHE_SIZE',
      'IMAGEBUILDER_HEARTBEAT',
    ]) {
      assert.ok(paths.includes(variable), variable);
    }
  }
});

function faultsOf(environment: Readonly<Record<string, string>>): string[] {
  try {
    loadConfig(environment);
    return [];
  } catch (error) {
    return (error as ImageBuilderError).faults.map(({ path, message }) => `${path} ${message}`);
  }
}

test('a variable that is no setting is a fault that names the nearest settings', () => {
  const nearest = (variable: string) => faultsOf({ [variable]: '1' });
  const cases: readonly (readonly [string, string])[] = [
    ['IMAGEBUILDER_GEUST', 'did you mean IMAGEBUILDER_GUEST?'],
    ['IMAGEBUILDER_AMQP', 'did you mean IMAGEBUILDER_AMQP_URL or IMAGEBUILDER_AMQP_MANAGEMENT_URL?'],
    ['IMAGEBUILDER_WORK_DIR', 'did you mean IMAGEBUILDER_WORK_DIRECTORY?'],
    ['IMAGEBUILDER_TOKENFILE', 'did you mean IMAGEBUILDER_TOKEN_FILE?'],
    ['IMAGEBUILDER_SECRET_DIRECTORY', 'did you mean IMAGEBUILDER_SECRETS_DIRECTORY?'],
    ['imagebuilder_guest', 'did you mean IMAGEBUILDER_GUEST?'],
    ['IMAGE_BUILDER_GUEST', 'did you mean IMAGEBUILDER_GUEST?'],
    ['IMAGEBUIDLER_LEASE', 'did you mean IMAGEBUILDER_LEASE?'],
    ['IMAGEBUILDER_EGRESS_TUNNEL_PORT', 'did you mean IMAGEBUILDER_EGRESS_TUNNEL_PORTS?'],
    ['IMAGEBUILDER_', 'README.md lists them all'],
    [`IMAGEBUILDER_${'X'.repeat(100_000)}`, 'README.md lists them all'],
  ];
  for (const [variable, advice] of cases) assert.equal(nearest(variable), [`${variable} is no setting; ${advice}`]);
});

test('variables of others are none of its faults, nor those of its own command', () => {
  const others = {
    PATH: '/bin',
    GUEST: 'vm',
    IMAGEBUILDER_UNKNOWN_AND_EMPTY: '',
    IMAGEBUILDER_URL: 'http://127.0.0.1:8000',
    IMAGEBUILDER_TOKEN_FILE: '/token',
    IMAGEBUILDER_LISTEN: '127.0.0.1:8000',
    IMAGEBUILDER_ALLOWED_HOSTS: 'a.example',
    IMAGEBUILDER_DEBUG: '1',
    // Kubernetes sets these for a service with the name imagebuilder-rabbitmq.
    IMAGEBUILDER_RABBITMQ_SERVICE_HOST: '10.0.0.1',
    IMAGEBUILDER_RABBITMQ_SERVICE_PORT: '5672',
    IMAGEBUILDER_RABBITMQ_PORT: 'tcp://10.0.0.1:5672',
    IMAGEBUILDER_RABBITMQ_PORT_5672_TCP_ADDR: '10.0.0.1',
  };
  assert.equal(faultsOf(others), []);
});

test('a folder of secrets that is named and not there is a fault; without a name none is needed', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    await writeFile(join(directory, 'file'), '');
    await symlink(join(directory, 'nowhere'), join(directory, 'link'));
    for (const path of ['nowhere', 'file', 'file/below', 'link'].map((name) => join(directory, name))) {
      const fault = `IMAGEBUILDER_SECRETS_DIRECTORY names ${path}, which is no folder that this user can reach; make it, or leave the variable out`;
      assert.equal(faultsOf({ IMAGEBUILDER_SECRETS_DIRECTORY: path }), [fault]);
    }
    await mkdir(join(directory, 'nowhere'));
    assert.equal(faultsOf({ IMAGEBUILDER_SECRETS_DIRECTORY: join(directory, 'link') }), []);
    assert.equal(faultsOf({ IMAGEBUILDER_SECRETS_DIRECTORY: '' }), []);
    assert.equal(faultsOf({}), []);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a misspelt secret is a fault that names the nearest; files of others are none', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    const environment = { IMAGEBUILDER_SECRETS_DIRECTORY: directory };
    for (const name of ['..data', 'registry-password', 'imagebuilder-token', 'imagebuilder-token.old']) {
      await writeFile(join(directory, name), 'a secret of these tests');
    }
    assert.equal(faultsOf(environment), []);
    await writeFile(join(directory, 'imagebuilder-ca'), makeCertificate().cert);
    assert.is(faultsOf(environment).length, 1);
    assert.equal(faultsOf({ ...environment, IMAGEBUILDER_CA_FILE: join(directory, 'imagebuilder-ca') }), []);
    await rm(join(directory, 'imagebuilder-ca'));
    for (const name of ['imagebuilder-taken', 'callback-singing-key', 'imagebuilder-amqp', 'imagebuilder_tokens']) {
      await writeFile(join(directory, name), 'hidden');
    }
    assert.equal(faultsOf(environment).sort(), [
      'secret callback-singing-key is none that is read; did you mean callback-signing-key?',
      'secret imagebuilder-amqp is none that is read; did you mean imagebuilder-amqp-url or imagebuilder-amqp-ca or imagebuilder-amqp-certificate or imagebuilder-amqp-key?',
      'secret imagebuilder-taken is none that is read; did you mean imagebuilder-token?',
      'secret imagebuilder_tokens is none that is read; did you mean imagebuilder-tokens?',
    ]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('secrets come from files, win over the environment and are listed for redaction', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    await writeFile(join(directory, 'imagebuilder-amqp-url'), 'amqp://user:pa%24s@broker:5672/vhost\n');
    await writeFile(join(directory, 'imagebuilder-token'), 'let-me-in\n');
    const config = loadConfig({
      IMAGEBUILDER_SECRETS_DIRECTORY: directory,
      IMAGEBUILDER_AMQP_URL: 'amqp://elsewhere',
    });
    assert.is(config.broker.amqpUrl, 'amqp://user:pa%24s@broker:5672/vhost');
    assert.is(config.callers.token, 'let-me-in');
    assert.ok(config.log.secrets.includes('pa$s'));
    assert.ok(config.log.secrets.includes('let-me-in'));
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a key for images that cannot sign is a fault that names the secret', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    const environment = { IMAGEBUILDER_SECRETS_DIRECTORY: directory };
    for (const [text, fault] of [
      ['', 'holds no OpenPGP private key'],
      [craftSecretKey().replaceAll('PRIVATE', 'PUBLIC'), 'holds a public key'],
      [craftSecretKey().slice(0, 500), 'has a key that cannot be parsed'],
    ] as const) {
      await writeFile(join(directory, 'image-signing-key'), text);
      const error = await failure((async () => loadConfig(environment, 'build-worker'))());
      assert.is(error.code, 'config.invalid');
      assert.match(error.message, `secret image-signing-key ${fault}`);
      assert.is(loadConfig(environment, 'status').provenance.imageKey, null);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a function reads its own secrets only', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    for (const { file } of Object.values(secretFiles)) await writeFile(join(directory, file), `amqp://u:${file}@host`);
    const { cert, key } = makeCertificate();
    await writeFile(join(directory, 'imagebuilder-amqp-ca'), cert);
    await writeFile(join(directory, 'imagebuilder-amqp-certificate'), cert);
    await writeFile(join(directory, 'imagebuilder-amqp-key'), key);
    await writeFile(join(directory, 'provenance-signing-key'), key);
    await writeFile(join(directory, 'image-signing-key'), craftSecretKey());
    await writeFile(
      join(directory, 'imagebuilder-tokens'),
      `callers: [{ name: a, role: read, token: ${'t'.repeat(32)} }]`,
    );
    const environment = { IMAGEBUILDER_SECRETS_DIRECTORY: directory };
    const status = loadConfig(environment, 'status');
    assert.equal(status.openStack, { clouds: null, password: null, applicationCredentialSecret: null });
    assert.equal([status.worker.callbackSigningKey, status.store.swiftTemporaryUrlKey], [null, null]);
    assert.ok(status.callers.token);
    const worker = loadConfig(environment, 'build-worker');
    assert.equal(worker.callers, { token: null, tokenHolders: [] });
    const images = loadConfig(environment, 'images');
    assert.ok(images.openStack.password && images.store.swiftTemporaryUrlKey && images.callers.token);
    assert.equal([images.worker.callbackSigningKey, images.provenance.provenanceKey], [null, null]);
    assert.equal([status.provenance.imageKey, images.provenance.imageKey], [null, null]);
    assert.is(worker.provenance.imageKey?.fingerprint.length, 20);
    assert.equal([status.provenance.provenanceKey, worker.provenance.provenanceKey?.asymmetricKeyType], [null, 'ec']);
    assert.ok(worker.openStack.password && worker.worker.callbackSigningKey && worker.store.swiftTemporaryUrlKey);
    assert.is(
      new Set([...status.log.secrets, ...worker.log.secrets]).size,
      new Set(loadConfig(environment).log.secrets).size,
    );
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('callers with tokens of their own come from a file, and their tokens are listed for redaction', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    const token = 'a'.repeat(32);
    const write = (file: string, text: string) => writeFile(join(directory, file), text);
    const load = () => loadConfig({ IMAGEBUILDER_SECRETS_DIRECTORY: directory });
    const faults = () => {
      try {
        load();
      } catch (error) {
        return (error as ImageBuilderError).faults.map((fault) => fault.path);
      }
      return [];
    };
    await write('imagebuilder-tokens', `callers: [{ name: lander, role: submit, token: ${token} }]`);
    const { callers, log } = load();
    const { tokenHolders } = callers;
    assert.equal([tokenHolders.length, tokenHolders[0]?.name], [1, 'lander']);
    assert.ok(log.secrets.includes(token));

    await write('imagebuilder-token', `${token}\n`);
    assert.equal(faults(), ['secret imagebuilder-tokens']);

    // It must not open the API to everybody.
    await write('imagebuilder-tokens', '\n');
    assert.equal(faults(), ['secret imagebuilder-tokens']);
    await write('imagebuilder-tokens', 'callers: [{ name: lander, role: boss, token: short }]');
    assert.equal(faults(), [
      'secret imagebuilder-tokens callers.0.role',
      'secret imagebuilder-tokens callers.0.token.0',
    ]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('the passwords of a clouds.yaml, of whichever cloud, are listed for redaction and appear in no log', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  try {
    await writeFile(
      join(directory, 'openstack-clouds'),
      `clouds:
  lab:
    auth: {auth_url: "http://keystone/v3", username: builder, password: "first-pass"}
  live:
    auth:
      application_credential_id: abcdef
      application_credential_secret: >-
        second-pass
  numbers: {auth: {username: builder, password: 1234567}}
`,
    );
    const { secrets } = loadConfig({ IMAGEBUILDER_SECRETS_DIRECTORY: directory }).log;
    for (const secret of ['first-pass', 'second-pass', '1234567']) assert.ok(secrets.includes(secret), secret);
    assert.not.ok(secrets.includes('builder'));
    let written = '';
    const log = createLog({
      secrets,
      write: (line) => {
        written += line;
      },
    });
    log.error('refused', { reason: 'the password first-pass or the secret second-pass is wrong' });
    assert.not.match(written, /first-pass|second-pass/);
    await writeFile(join(directory, 'openstack-clouds'), '{ not yaml: [');
    assert.equal(loadConfig({ IMAGEBUILDER_SECRETS_DIRECTORY: directory }).log.secrets, []);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.run();
