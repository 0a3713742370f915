import { randomInt } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { Command, InvalidArgumentError } from 'commander';
import { queues } from '#lib/queue/topology.ts';
import { table } from '#lib/text.ts';
import { type Fleet, startFleet } from '../lab/fleet/fleet.ts';
import { baseImageCache } from '../lab/images/cache.ts';
import { makeSmallImage } from '../lab/images/small-image.ts';
import { assertNothingLeft, observe } from '../lab/leaks.ts';
import { call } from '../lab/servers/function.ts';
import { failingPackage } from '../lab/servers/launchpad.ts';
import { type Callers, startCallers } from './callers.ts';
import { createInjector } from './inject.ts';
import { makePlan, plainPackages, submitters } from './plan.ts';
import { type Dealing, submit } from './submit.ts';
import { type Account, openTally, type Tally } from './tally.ts';

/**
 * `npm run soak`: many small builds from many submitters on a fleet of workers, while faults of all kinds happen, at
 * random but determined by the seed. Prints how the builds ended, and exits with 1 where something was lost, doubled or
 * left over.
 */

const options = new Command('npm run soak --')
  .description('Builds many small images while workers, RabbitMQ and servers are broken at random.')
  .option('--builds <n>', 'submissions, of which some ask for the same build', wholeNumber, 200)
  .option('--minutes <n>', 'no submission later than this', wholeNumber, 60)
  .option('--workers <n>', 'workers, each of which builds one image at a time', wholeNumber, 2)
  .option('--logs <folder>', 'keeps what the functions log, one file for each process')
  .option('--seed <n>', 'for the same submissions and faults again; default a random one', wholeNumber)
  .parse()
  .opts<{ builds: number; minutes: number; workers: number; seed?: number; logs?: string }>();

/** Submissions under way at once, for each worker. */
const submissionsPerWorker = 3;
/** Time after the last fault in which every build has to end and its caller to be notified. */
const drainLimitMs = 15 * 60_000;
const progressMs = 30_000;

const seed = options.seed ?? randomInt(2 ** 31);
const plan = makePlan(seed, options.builds);
say(`seed ${seed}: ${plan.submissions.length} submissions, ${plan.faults.length} faults, ${options.workers} workers`);
if (process.geteuid?.() !== 0) {
  console.error('soak: it mounts images, so it needs root');
  process.exit(1);
}

const base = await makeSmallImage(baseImageCache, say);
await using fleet = await startFleet({
  base,
  packages: () => [
    ...plainPackages.filter((name) => name !== 'libfoo').map((name) => ({ name })),
    failingPackage('fails', 'this package always fails'),
  ],
  settings: {
    // Every build downloads its base image, so that each one meets the image server's faults.
    IMAGEBUILDER_IMAGE_CACHE_SIZE: '1M',
    IMAGEBUILDER_STALL_TIMEOUT: '4',
    IMAGEBUILDER_CANCEL_POLL: '1',
    IMAGEBUILDER_CALLBACK_TIMEOUT: '20',
  },
});
await using callers = await startCallers(fleet.rabbitMq.url, submitters);
const before = await observe(fleet.workDirectory);
let started = 0;
const startWorker = () => fleet.startWorker(`soak-${++started}`);
for (let count = 0; count < options.workers; count += 1) await startWorker();
const injector = createInjector({ fleet, callers, startWorker });

const dealings: Dealing[] = [];
const { broker, storeDirectory } = fleet;
const tally = openTally({ dealings, ledger: broker.ledger, storeDirectory });
const faults = new Map<string, number>();
const beganAt = Date.now();

await submitAll();
const unended = await drain(fleet, tally, callers);
await stopWorkers();
if (options.logs !== undefined) await keepLogs(options.logs);
const account = await tally.account(await callers.read(), callers.calledBack);
report(
  account,
  [...account.leaked, ...(await leaks())],
  [...injector.violations, ...dealings.flatMap(({ violations }) => violations), ...account.unexpected, ...unended],
);

/** Follows the plan: submits as fast as builds are done, and injects the faults after their submissions. */
async function submitAll(): Promise<void> {
  const until = beganAt + options.minutes * 60_000;
  const underWay = new Set<Promise<void>>();
  let toldAt = 0;
  for (const submission of plan.submissions) {
    for (;;) {
      const unfinished = await tally.look();
      if (Date.now() - toldAt > progressMs) {
        toldAt = Date.now();
        say(`${submission.index} of ${plan.submissions.length} submitted, ${unfinished} builds under way`);
      }
      if (unfinished + underWay.size < options.workers * submissionsPerWorker || Date.now() > until) break;
      await sleep(200);
    }
    if (Date.now() > until) {
      say('the time is over: no more submissions');
      break;
    }
    follow(underWay, async () => {
      const dealing = await submit(submission, fleet, callers);
      dealings.push(dealing);
      await cancelWhereWanted(dealing);
    });
    for (const fault of plan.faults.filter(({ afterSubmission }) => afterSubmission === submission.index)) {
      follow(underWay, async () => {
        await sleep(fault.delayMs);
        const hit = await injector.inject(fault);
        const name = hit ? fault.kind : `${fault.kind}: nothing there to hit`;
        faults.set(name, (faults.get(name) ?? 0) + 1);
      });
    }
  }
  while (underWay.size > 0) await Promise.race(underWay);
}

/** Keeps a promise in the set until it ends; its error ends the soak. */
function follow(underWay: Set<Promise<void>>, work: () => Promise<void>): void {
  const promise = work().finally(() => underWay.delete(promise));
  underWay.add(promise);
}

async function cancelWhereWanted({ submission, accepted }: Dealing): Promise<void> {
  if (submission.kind !== 'cancel by DELETE' && submission.kind !== 'cancel by cancel_url') return;
  await sleep(submission.cancelAfterMs);
  callers.cancel(submission.index);
  // Once only: a caller who cancels while RabbitMQ is away gets an error, and its build is built.
  if (submission.kind === 'cancel by DELETE') for (const id of accepted) await fleet.cancel(id).catch(() => {});
}

/**
 * Waits until every build has ended and its caller is notified; resolves with the missing ones when the time is over.
 */
async function drain(fleet: Fleet, tally: Tally, callers: Callers): Promise<string[]> {
  say('every submission and every fault has been; waiting for the rest');
  for (const end = Date.now() + drainLimitMs; ; await sleep(500)) {
    const unended = await tally.look();
    const untold = tally.untold(await callers.read(), callers.calledBack);
    const jobs = await waitingJobs(fleet);
    if (unended === 0 && untold.length === 0 && jobs === 0) return [];
    if (Date.now() > end) return jobs === 0 ? [] : [`${jobs} jobs are still in the queues`];
  }
}

async function waitingJobs(fleet: Fleet): Promise<number> {
  const connection = await connect(fleet.rabbitMq.url);
  try {
    const channel = await connection.createChannel();
    const counts = await Promise.all([queues.builds, queues.leases].map((queue) => channel.checkQueue(queue)));
    return counts.reduce((sum, { messageCount }) => sum + messageCount, 0);
  } finally {
    await connection.close();
  }
}

/**
 * Stops every worker, then starts and stops a last one, because the service promises that it removes the leftovers of
 * dead ones.
 */
async function stopWorkers(): Promise<void> {
  const stop = async () => {
    for (const worker of fleet.workers()) {
      worker.child.kill('SIGTERM');
      await worker.exited;
    }
  };
  await stop();
  const last = await startWorker();
  // The worker cleans up when it is first called.
  await call(last.address, '/', { method: 'POST', body: '' });
  await stop();
}

async function keepLogs(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const { child, lines } of fleet.functions) await writeFile(join(folder, `${child.pid}.log`), lines.join('\n'));
}

async function leaks(): Promise<string[]> {
  const running = [...(await fleet.brokerProcesses()), ...fleet.functions.map(({ child }) => child.pid ?? 0)];
  const left = await assertNothingLeft({ ...before, processIds: new Set([...before.processIds, ...running]) }).then(
    () => [],
    (error: Error) => error.message.split('\n').slice(1),
  );
  return [...left, ...(await fleet.leftFiles())];
}

function report({ accepted, built, cancelled, failed, lost, doubled }: Account, leaked: string[], wrong: string[]) {
  const count = (map: ReadonlyMap<string, number>) =>
    [...map].sort(([one], [other]) => one.localeCompare(other)).map(([name, times]) => [`  ${name}`, String(times)]);
  const sum = (map: ReadonlyMap<string, number>) => [...map.values()].reduce((total, times) => total + times, 0);
  const minutes = ((Date.now() - beganAt) / 60_000).toFixed(1);
  const rows = [
    ['seed', String(seed)],
    ['minutes', minutes],
    ['submissions', String(dealings.length)],
    ['faults injected', String(sum(faults))],
    ...count(faults),
    ['accepted', String(accepted)],
    ['built', String(built)],
    ['failed', String(sum(failed))],
    ...count(failed),
    ['cancelled', String(cancelled)],
    ['lost', String(lost.length)],
    ['doubled', String(doubled.length)],
    ['leaked', String(leaked.length)],
    ['otherwise wrong', String(wrong.length)],
  ];
  console.log(`\n${table(rows).join('\n')}`);
  const faulty = { lost, doubled, leaked, 'otherwise wrong': wrong };
  for (const [name, lines] of Object.entries(faulty)) for (const line of lines) console.log(`${name}: ${line}`);
  process.exitCode = Object.values(faulty).every((lines) => lines.length === 0) ? 0 : 1;
}

function say(line: string): void {
  console.error(`soak: ${line}`);
}

function wholeNumber(text: string): number {
  if (!/^[0-9]{1,10}$/.test(text)) throw new InvalidArgumentError('must be a whole number');
  return Number(text);
}
