import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import type { BrokerCertificates } from '#lib/broker-address.ts';
import { lookAtBroker } from '#lib/doctor/broker.ts';
import { lookAtPolicies } from '#lib/doctor/broker-policies.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { openBroker } from '#lib/queue/broker.ts';
import { submit } from '#lib/queue/submit.ts';
import { rights } from '#lib/queue/topology.ts';
import { startOperation } from '#lib/trace-context.ts';
import { defaultTrust } from '#lib/trust.ts';
import { type Authority, makeAuthority } from '../../lab/servers/authority.ts';
import { startCaller } from '../../lab/servers/caller.ts';
import { listen } from '../../lab/servers/listen.ts';
import { freePorts } from '../../lab/servers/ports.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import { makeCertificate } from '../unit/fetch/certificate.ts';
import { eventually } from './serve/command.ts';

/** How RabbitMQ is reached, and what its users may do. */

interface Context {
  rabbitmq: RabbitMq;
  authority: Authority;
  tlsPort: number;
  stompPort: number;
  managementUrl: string;
}

const test = suite<Context>('queue-connection');

/** Users with the rights of docs/deploying.md, and some with fewer: configure, write, read. */
const users = {
  declares: Object.values(rights),
  status: ['^$', '^amq\\.default$', '^imagebuilder\\.events$'],
  'build-image': ['^$', '^(amq\\.default|lander\\..*)$', '^imagebuilder\\.(events|dead)$'],
  'build-worker': ['^$', '^(amq\\.default|lander\\..*)$', '^imagebuilder\\.(events|dead|builds)$'],
  lander: ['^(lander\\.|amq\\.gen-)', '^(lander\\.|amq\\.gen-)', '^(lander\\.|amq\\.gen-)'],
  'as the error said': ['^imagebuilder\\.', '^imagebuilder\\.', '^imagebuilder\\.'],
  'sees nothing': ['^imagebuilder\\.', '^amq\\.default$', '^$'],
  nobody: ['^$', '^$', '^$'],
} as const satisfies Record<string, readonly string[]>;
type User = keyof typeof users;
const password = 'hush-hush';
/** Characters that mean something in URLs, and some beyond ASCII. */
const oddPassword = 'p/a?s#s@w:ö%rd, €';
let directory = '';

test.before(async (context) => {
  directory = await mkdtemp(join(tmpdir(), 'queue-connection-'));
  const authority = await makeAuthority(directory);
  const [tlsPort = 0, stompPort = 0, managementPort = 0] = await freePorts(3);
  const managementUrl = `http://127.0.0.1:${managementPort}`;
  Object.assign(context, { authority, tlsPort, stompPort, managementUrl });
  context.rabbitmq = await startRabbitMq({
    plugins: ['rabbitmq_stomp', 'rabbitmq_management'],
    configuration: [
      'management.tcp.ip = 127.0.0.1',
      `management.tcp.port = ${managementPort}`,
      `stomp.listeners.tcp.1 = 127.0.0.1:${stompPort}`,
      `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
      `ssl_options.cacertfile = ${authority.ca.certificateFile}`,
      `ssl_options.certfile = ${authority.server.certificateFile}`,
      `ssl_options.keyfile = ${authority.server.keyFile}`,
      'ssl_options.verify = verify_peer',
      'ssl_options.fail_if_no_peer_cert = true',
    ],
  });
  const erlang = (text: string) => `<<${JSON.stringify(text)}>>`;
  const steps = Object.entries(users).flatMap(([name, [configure, write, read]]) => {
    const patterns = [configure, write, read].map(erlang).join(', ');
    return [
      `rabbit_auth_backend_internal:add_user(${erlang(name)}, ${erlang(password)}, <<"t">>)`,
      ...['/', 'empty'].map(
        (vhost) =>
          `rabbit_auth_backend_internal:set_permissions(${erlang(name)}, ${erlang(vhost)}, ${patterns}, <<"t">>)`,
      ),
    ];
  });
  await context.rabbitmq.control(['eval', `rabbit_vhost:add(<<"empty">>, <<"t">>), ${steps.join(', ')}.`]);
  await context.rabbitmq.control(['add_user', 'jürgen', oddPassword]);
  await context.rabbitmq.control(['add_vhost', 'café/1']);
  await context.rabbitmq.control(['set_permissions', '-p', 'café/1', 'jürgen', ...Object.values(rights)]);
});
test.after(async ({ rabbitmq }) => {
  await rabbitmq[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const urlOf = ({ rabbitmq }: Context, user: User, vhost = '') =>
  `${rabbitmq.url.replace('//', `//${encodeURIComponent(user)}:${password}@`)}${vhost}`;

const open = (amqpUrl: string, write: (line: string) => void = () => {}, certificates = noCertificates) =>
  openBroker({
    certificates,
    ...{ amqpUrl, leaseMs: 90_000, eventRetentionSeconds: 3_600, eventRetentionBytes: 50_000_000 },
    log: createLog({ level: 'warn', write }),
  });

const noCertificates: BrokerCertificates = { ca: null, certificate: null, key: null };
const certificatesOf = ({ authority: { ca, client } }: Context) => ({
  ...{ ca: [ca.certificate], certificate: client.certificate, key: client.key },
});

const errorOf = async (work: Promise<unknown>): Promise<ImageBuilderError> => {
  const error = await work.catch((thrown: unknown) => thrown);
  assert.instance(error, ImageBuilderError);
  return error as ImageBuilderError;
};

test('each function works with its own least rights, and a caller reads its events with none on the queues', async (context) => {
  await using declares = await open(urlOf(context, 'declares'));
  await declares.ledger.ready();
  const lines: string[] = [];
  const note = (line: string) => lines.push(line);
  await using status = await open(urlOf(context, 'status'), note);
  await using builder = await open(urlOf(context, 'build-image'), note);
  await using worker = await open(urlOf(context, 'build-worker'), note);
  const trigger = `lander.${randomUUID()}`;
  await using caller = await startCaller(urlOf(context, 'lander'), trigger);
  const request = parseBuildRequest({ ...exampleRequest, progress_trigger: trigger });
  const admit = () => ({ [Symbol.dispose]() {} });
  const { buildId } = await submit(builder, {
    request,
    callback: null,
    caller: 'anonymous',
    trace: startOperation(null),
    admit,
  });
  assert.is(await builder.jobs.revive(), 0);
  await status.ledger.ready();
  await status.ledger.when(buildId, () => true, 10_000);
  assert.is(status.ledger.get(buildId)?.state, 'queued');
  assert.equal([await status.jobs.depth(), await status.jobs.aside()], [1, { dropped: 0, buried: 0 }]);
  await worker.ledger.ready();
  const taken = await worker.jobs.take();
  assert.is(taken?.job.build_id, buildId);
  if (taken === null) return;
  await taken.lease();
  assert.is(await worker.claim(taken.job, { worker: 'w', attempt: 1, sequence: 1 }), 'won');
  await worker.jobs.bury(taken.job);
  for (const end = Date.now() + 10_000; caller.events.length < 2 && Date.now() < end; ) await delay(20);
  assert.equal(
    caller.events.map(({ state }) => state),
    ['queued', 'running'],
  );
  assert.equal(lines, []);
});

test('where a user may not declare a queue that is missing, the error has the command that gives the right', async (context) => {
  await using broker = await open(urlOf(context, 'status', '/empty'));
  const { code, message } = await errorOf(broker.ledger.ready(5_000));
  assert.is(code, 'broker.unreachable');
  const expected = `the queue imagebuilder.buried is not there, and RabbitMQ does not give its user status the right "configure" on the queue imagebuilder.buried in the virtual host empty: rabbitmqctl set_permissions -p 'empty' 'status' '^imagebuilder\\.' '^amq\\.default$' '^imagebuilder\\.', `;
  assert.ok(message.startsWith(expected), message);
});

test('where a user may not read or write, the error names the right, and the command that gives it', async (context) => {
  const lines: string[] = [];
  await using blind = await open(urlOf(context, 'sees nothing'), (line) => lines.push(line));
  const lacks = (user: string, right: string, what: string) =>
    `RabbitMQ does not give its user ${user} the right "${right}" on the ${what} in the virtual host /: rabbitmqctl set_permissions -p '/' '${user}' '^imagebuilder\\.' `;
  const unread = (await errorOf(blind.ledger.ready(5_000))).message;
  assert.ok(unread.startsWith(lacks('sees nothing', 'read', 'queue imagebuilder.events')), unread);
  assert.is(lines.filter((line) => line.includes('the events stream cannot be read')).length, 1);
  await using mute = await open(urlOf(context, 'as the error said'));
  const unsent = (await errorOf(mute.showWorker({ name: 'w', unable: null }))).message;
  assert.ok(unsent.startsWith(lacks('as the error said', 'write', 'exchange amq.default')), unsent);
});

test('where a worker may take no jobs, it is known why until the right is given', async (context) => {
  await using status = await open(urlOf(context, 'status'));
  await status.ledger.ready(5_000);
  assert.is(await status.jobs.lacking(), null);
  const { code, message } = await errorOf(status.jobs.take());
  assert.is(code, 'broker.unreachable');
  const lacks = `RabbitMQ does not give its user status the right "read" on the queue imagebuilder.builds in the virtual host /: rabbitmqctl set_permissions -p '/' 'status' `;
  assert.ok(message.startsWith(lacks), message);
  assert.is(await status.jobs.lacking(), message);
  const give = (read: string) =>
    context.rabbitmq.control(['set_permissions', '-p', '/', 'status', '^$', '^amq\\.default$', read]);
  await give('^imagebuilder\\.');
  try {
    assert.is(await status.jobs.lacking(), null);
    assert.is(await status.jobs.take(), null);
  } finally {
    await give(users.status[2]);
  }
});

test('the doctor names each right that is missing, how many builds wait, and the jobs that lie aside', async (context) => {
  const request = parseBuildRequest({ ...exampleRequest, progress_trigger: `lander.${randomUUID()}` });
  await using builder = await open(urlOf(context, 'build-image'));
  const admit = () => ({ [Symbol.dispose]() {} });
  await submit(builder, { request, callback: null, caller: 'anonymous', trace: startOperation(null), admit });
  // The copy of a job whose build is over, as it comes back from its lease.
  const over = parseBuildRequest({ ...exampleRequest, ticket_id: 'over', progress_trigger: 'lander.over' });
  const { buildId } = await submit(builder, {
    request: over,
    callback: null,
    caller: 'anonymous',
    trace: startOperation(null),
    admit,
  });
  builder.withdraw(buildId);
  await eventually('the withdrawal', async () => builder.ledger.isOver(buildId));
  const detailOf = async (user: User, vhost = '') => (await lookAtBroker(urlOf(context, user, vhost))).detail;
  assert.match(
    await detailOf('declares'),
    /, 1 build waits, 1 jobs given up in imagebuilder\.buried: build [0-9a-f-]{36}$/,
  );
  assert.match(await detailOf('build-worker'), /, 1 build waits, 1 jobs given up in imagebuilder\.buried$/);
  await using declares = await open(urlOf(context, 'declares'));
  for (let taken = await declares.jobs.take(); taken !== null; taken = await declares.jobs.take()) await taken.drop();
  assert.match(await detailOf('as the error said'), /: the user lacks write on \^amq\\\.default\$$/);
  assert.match(await detailOf('sees nothing'), /: the user lacks read on \^imagebuilder\\\.$/);
  assert.match(await detailOf('declares', '/empty'), /its queues are not there yet$/);
  assert.match(
    await detailOf('nobody', '/empty'),
    /lacks configure on \^imagebuilder\\\., write on \^amq\\\.default\$$/,
  );
});

test('the doctor names policies that drop jobs or events, where it may ask for them', async (context) => {
  const { rabbitmq, managementUrl } = context;
  await rabbitmq.control(['add_vhost', 'policed/1']);
  await rabbitmq.control(['set_permissions', '-p', 'policed/1', 'declares', ...Object.values(rights)]);
  const amqpUrl = urlOf(context, 'declares', '/policed%2F1');
  const look = async () =>
    await lookAtPolicies({ amqpUrl, managementUrl, trust: defaultTrust, signal: new AbortController().signal });
  assert.match((await look())[0]?.todo ?? '', /the tag `management`/);
  await rabbitmq.control(['set_user_tags', 'declares', 'management']);
  await using broker = await open(amqpUrl);
  await broker.ledger.ready();
  assert.equal(
    (await look()).map(({ todo }) => todo),
    [undefined],
  );
  const policy = ['set_policy', '-p', 'policed/1', '--apply-to', 'queues', 'old-mail', '.*'];
  await rabbitmq.control([...policy, '{"message-ttl":60000,"queue-leader-locator":"balanced"}']);
  // The API answers out of its own memory, which is up to some seconds old, and not as old for each queue.
  const [finding, ...more] = await eventually('the policy is seen', async () => {
    const found = await look();
    return found.some(({ detail }) => detail.includes('imagebuilder.builds (')) && found;
  });
  assert.equal(more, []);
  assert.match(finding?.detail ?? '', /imagebuilder\.builds \(message-ttl 60000\)/);
  assert.not.match(finding?.detail ?? '', /locator/);
  assert.match(finding?.todo ?? '', /out of these policies of RabbitMQ: old-mail/);
  assert.is(finding?.ok, true);
});

test('users, passwords and virtual hosts may have any characters, and no part of a password is shown', async (context) => {
  const [user, secret, vhost] = ['jürgen', oddPassword, 'café/1'].map(encodeURIComponent);
  const lines: string[] = [];
  const at = (given: string) => context.rabbitmq.url.replace('//', `//${user}:${given}@`);
  await using broker = await open(`${at(secret ?? '')}/${vhost}`, (line) => lines.push(line));
  await broker.ledger.ready();
  assert.is(await broker.jobs.depth(), 0);
  await using refused = await open(`${at(`${secret}x`)}/${vhost}`, (line) => lines.push(line));
  const { message } = await errorOf(refused.jobs.depth());
  assert.match(message, /caf%C3%A9%2F1 is out of reach: it refuses the user or the password/);
  for (const part of [oddPassword, secret ?? '', 'jürgen', 'j%C3%BCrgen']) {
    assert.not.ok(
      [message, ...lines].some((text) => text.includes(part)),
      part,
    );
  }
});

test('TLS with a private CA and a client certificate', async (context) => {
  const certificates = certificatesOf(context);
  const url = `amqps://declares:${password}@127.0.0.1:${context.tlsPort}`;
  await using broker = await open(url, () => {}, certificates);
  await broker.ledger.ready();
  const { ok, detail } = await lookAtBroker(url, certificates);
  assert.is(ok, true, detail);
});

test('of several nodes those that are away are passed over, at first and when the connection is gone', async (context) => {
  const [gone = 0] = await freePorts(1);
  const tls = `amqps://127.0.0.1:${context.tlsPort}`;
  const url = `amqp://declares:${password}@127.0.0.1:${gone}, ${context.rabbitmq.url}, ${tls}`;
  const lines: string[] = [];
  await using broker = await open(url, (line) => lines.push(line), certificatesOf(context));
  await broker.ledger.ready();
  await context.rabbitmq.closeAllConnections();
  for (const end = Date.now() + 10_000; !lines.some((line) => line.includes('is gone')) && Date.now() < end; )
    await delay(20);
  await broker.ledger.ready();
  assert.is(await broker.jobs.depth(), 0);
  await using nowhere = await open(`amqp://127.0.0.1:${gone}, amqp://127.0.0.1:${gone}/other`);
  await delay(1_500);
  const { message } = await errorOf(nowhere.jobs.depth());
  assert.match(message, /nothing listens on port [0-9]+ of 127\.0\.0\.1.*; RabbitMQ at .*\/other is out of reach/);
});

test('each thing that can be wrong with an address is named for what it is', async (context) => {
  const { rabbitmq, tlsPort, stompPort } = context;
  const all = certificatesOf(context);
  const stopped = makeCertificate(-1);
  await using old = await listenTls(stopped);
  await using http = await listen(createServer((_request, response) => response.end('no broker')));
  const { port } = rabbitmq;
  const withUser = (scheme: string, rest: string) => `${scheme}://declares:${password}@${rest}`;
  const cases: readonly (readonly [url: string, RegExp, BrokerCertificates?])[] = [
    [
      withUser('amqp', `127.0.0.1:${port}/nope`),
      /the virtual host "nope" is not there, or the user has no rights in it/,
    ],
    [`amqp://declares:wrong@127.0.0.1:${port}`, /it refuses the user or the password \(ACCESS_REFUSED\)/],
    [withUser('amqps', `127.0.0.1:${port}`), /no TLS is spoken on port/],
    [withUser('amqp', `127.0.0.1:${tlsPort}`), /does not speak AMQP without TLS \(amqps is for the TLS port\)/],
    [withUser('amqp', `127.0.0.1:${http.port}`), /speaks HTTP, such as RabbitMQ's management/],
    [withUser('amqps', `127.0.0.1:${http.port}`), /no TLS is spoken on port/],
    [withUser('amqp', `127.0.0.1:${stompPort}`), /gives no answer: .*STOMP|does not speak AMQP.*STOMP/],
    [withUser('amqp', 'rabbit.invalid'), /the name rabbit\.invalid does not resolve/],
    [
      withUser('amqps', `127.0.0.1:${tlsPort}`),
      /an authority that is not known here.*imagebuilder-amqp-ca/,
      { ...all, ca: null },
    ],
    [withUser('amqps', `localhost:${tlsPort}`), /its certificate is for another host than localhost/, all],
    [
      withUser('amqps', `127.0.0.1:${old.port}`),
      /its certificate has expired/,
      { ...noCertificates, ca: [stopped.cert] },
    ],
    [withUser('amqps', `127.0.0.1:${tlsPort}`), /it wants a client certificate/, { ...noCertificates, ca: all.ca }],
  ];
  await Promise.all(
    cases.map(async ([url, pattern, certificates]) => {
      const { detail } = await lookAtBroker(url, certificates ?? noCertificates);
      assert.match(detail, pattern);
      assert.not.match(detail, password);
    }),
  );
});

/** A server that ends each connection after the handshake. */
async function listenTls(certificate: { readonly cert: string; readonly key: string }) {
  const server = createTlsServer(certificate, (socket) => socket.destroy());
  server.on('tlsClientError', () => {});
  return await listen(server);
}

test.run();
