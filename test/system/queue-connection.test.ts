import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { lookAtBroker } from '#lib/doctor/broker.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { openBroker } from '#lib/queue/broker.ts';
import { submit } from '#lib/queue/submit.ts';
import { rights } from '#lib/queue/topology.ts';
import { startCaller } from '../../lab/servers/caller.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';

/** How RabbitMQ is reached, and what its users may do. */

interface Context {
  rabbitmq: RabbitMq;
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

test.before(async (context) => {
  context.rabbitmq = await startRabbitMq();
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
});
test.after(async ({ rabbitmq }) => {
  await rabbitmq[Symbol.asyncDispose]();
});

const urlOf = ({ rabbitmq }: Context, user: User, vhost = '') =>
  `${rabbitmq.url.replace('//', `//${encodeURIComponent(user)}:${password}@`)}${vhost}`;

const open = (amqpUrl: string, write: (line: string) => void = () => {}) =>
  openBroker({
    ...{ amqpUrl, leaseMs: 90_000, eventRetentionSeconds: 3_600, eventRetentionBytes: 50_000_000 },
    log: createLog({ level: 'warn', write }),
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
  const { buildId } = await submit(builder, { request, callback: null, caller: 'anonymous', admit });
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

test('a user who may not declare a queue that is missing is told the rights that it takes', async (context) => {
  await using broker = await open(urlOf(context, 'status', '/empty'));
  const { code, message } = await errorOf(broker.ledger.ready(5_000));
  assert.is(code, 'broker.unreachable');
  assert.match(message, /configure on \^imagebuilder\\\., write on \^amq\\\.default\$ and read on \^imagebuilder\\\.$/);
});

test('the doctor names each right that is missing, and the jobs that lie aside', async (context) => {
  const detailOf = async (user: User, vhost = '') => (await lookAtBroker(urlOf(context, user, vhost))).detail;
  assert.match(
    await detailOf('declares'),
    /, 0 builds wait, 1 jobs given up in imagebuilder\.buried: build [0-9a-f-]{36}$/,
  );
  assert.match(await detailOf('build-worker'), /, 0 builds wait, 1 jobs given up in imagebuilder\.buried$/);
  assert.match(await detailOf('as the error said'), /: the user lacks write on \^amq\\\.default\$$/);
  assert.match(await detailOf('sees nothing'), /: the user lacks read on \^imagebuilder\\\.$/);
  assert.match(await detailOf('declares', '/empty'), /its queues are not there yet$/);
  assert.match(
    await detailOf('nobody', '/empty'),
    /lacks configure on \^imagebuilder\\\., write on \^amq\\\.default\$$/,
  );
});

test.run();
