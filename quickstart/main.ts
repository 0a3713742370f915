import { access, constants, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildRequestInput } from '#lib/api/request.ts';
import { createClient } from '#lib/client/client.ts';
import { followBuild } from '#lib/client/follow.ts';
import { presentBuild } from '#lib/client/present.ts';
import { secretFiles } from '#lib/config/secrets.ts';
import { ImageBuilderError, toImageBuilderError } from '#lib/errors.ts';
import { tryLock } from '#lib/lock.ts';
import { formatSeconds } from '#lib/text.ts';
import { bootImage } from '../lab/images/boot.ts';
import { baseImageCache } from '../lab/images/cache.ts';
import { startCaller } from '../lab/servers/caller.ts';
import { startImageServer } from '../lab/servers/image-server.ts';
import { startLaunchpad } from '../lab/servers/launchpad.ts';
import { type OpenStack, startOpenStack } from '../lab/servers/openstack/openstack.ts';
import { startRabbitMq } from '../lab/servers/rabbitmq.ts';
import { startServeProcess } from '../lab/servers/serve-process.ts';
import { makeBase } from './make-base.ts';
import { compareMembers, describeMembers } from './member-changes.ts';
import { imageTypeOf, readOptions } from './options.ts';
import { bootMarker, examplePpa } from './packages.ts';
import { describeResult } from './report.ts';

/** `npm run quickstart`: from nothing to a changed, bootable image, with all services on this machine. */

const root = dirname(import.meta.dirname);
const directory = join(root, '.cache', 'quickstart');
/** Shared with the tests: a base image takes a minute and a half to make. */
const storeDirectory = join(directory, 'store');
const progressTrigger = 'testbuild-1-imagebuilder';
const appearsWithinMs = 60_000;

const options = readOptions(process.argv.slice(2));
const imageType = imageTypeOf(options);
const isRoot = process.geteuid?.() === 0;
/**
 * The host guest needs root. It is quicker, and base image and packages are trusted: they are the quickstart's own, or
 * named by the user who runs it as root.
 */
const guest = process.env.IMAGEBUILDER_GUEST || (isRoot ? 'host' : 'vm');
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (interrupted.signal.aborted) return;
    say('\nStopping what was started …');
    interrupted.abort(new Error(`stopped by ${signal}`));
  });
}

// A reader of the output that has gone (`| head`) ends it like a signal.
process.stdout.on('error', () => interrupted.abort(new Error('nobody reads the output')));

try {
  await run();
} catch (error) {
  if (interrupted.signal.aborted) {
    say('Stopped. Nothing is left running.');
    process.exitCode = 130;
  } else {
    const { message, logTail } = toImageBuilderError(error);
    say(`\nThat did not work: ${message}`);
    for (const line of logTail) say(`  | ${line}`);
    const log = (await isThere(logFile())) ? ` The log of the service: ${shown(logFile())}` : '';
    say(`\nNothing is left running.${log}`);
    process.exitCode = 1;
  }
}

async function run(): Promise<void> {
  const { signal } = interrupted;
  for (const path of [directory, baseImageCache]) await makeOwnFolder(path);
  await using _only = await takeTurn();
  sayPlan();
  await rm(storeDirectory, { recursive: true, force: true });
  await rm(logFile(), { force: true });

  const base = await step('The base image', async () => {
    if (options.baseImage !== undefined) return { url: options.baseImage, series: options.series ?? '', path: null };
    const made = await makeBase(imageType, { cacheDirectory: baseImageCache, onLine: detail, signal });
    detail(`${shown(made.path)}, ${made.origin}`);
    return { ...made, url: null };
  });

  await using services = new AsyncDisposableStack();
  const { client, caller, imageUrl, openStack } = await step('The services', async () => {
    const rabbitMq = services.use(await startRabbitMq({ onProgress: detail }));
    const launchpad = services.use(await startLaunchpad({ ppas: [examplePpa(base.series)] }));
    detail(`a PPA is served at ${launchpad.ppaUrl}/project/ppaname/ubuntu`);
    const images = base.path === null ? null : services.use(await startImageServer(base.path));
    if (images !== null) detail(`the base image is served at ${images.url}`);
    const caller = services.use(await startCaller(rabbitMq.url, progressTrigger));
    const openStack = options.openstack
      ? services.use(await startOpenStack({ services: ['glance'], onProgress: detail }))
      : null;
    signal.throwIfAborted();
    const serve = services.use(
      await startServeProcess({
        root,
        logFile: logFile(),
        signal,
        settings: {
          IMAGEBUILDER_AMQP_URL: rabbitMq.url,
          IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
          IMAGEBUILDER_CACHE_DIRECTORY: join(directory, 'cache'),
          IMAGEBUILDER_STORE_DIRECTORY: storeDirectory,
          IMAGEBUILDER_GUEST: guest,
          // The image is for the user who has called `sudo`.
          IMAGEBUILDER_STORE_READERS: 'everyone',
          IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
          IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
          IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
          ...(openStack === null ? {} : await openStackSettings(openStack)),
        },
      }),
    );
    detail(`Image Builder is at ${serve.url}; try curl ${serve.url}/api/v1/imagebuilder/status meanwhile`);
    const imageUrl = base.url ?? images?.url ?? '';
    return { client: createClient({ url: serve.url, signal }), caller, imageUrl, openStack };
  });

  const build = await step('The build', async () => {
    const request: BuildRequestInput = {
      ticket_id: 'testbuild-1',
      cancel_url: null,
      base_image: { image_type: imageType, url_list: [imageUrl], series: base.series },
      ppa_list: ['ppa:project/ppaname'],
      package_list: ['libfoo', 'baz-utils'],
      progress_trigger: progressTrigger,
    };
    say(JSON.stringify(request, null, 2).replace(/^/gm, '    '));
    const { accepted } = await client.submit(request);
    return await presentBuild(followBuild(client, accepted.build_id, { appearsWithinMs, signal }), {
      progress: process.stderr,
      result: process.stdout,
      environment: process.env,
    });
  });
  const { image } = build;
  if (build.state !== 'completed' || image === undefined) {
    throw new ImageBuilderError('internal', build.error?.message ?? `the build ended as ${build.state}`);
  }
  const imagePath = openStack === null ? fileURLToPath(image.location) : await readBack(openStack, image.id);
  await services.disposeAsync();

  if (options.boot) {
    await step('The boot', async () => {
      detail('starting the image in an emulated machine (one to three minutes)');
      const format = options.cd ? 'raw' : 'qcow2';
      await bootImage({ path: imagePath, format, until: new RegExp(bootMarker), signal });
      detail(`it is up, and baz-utils printed "${bootMarker}" on its console`);
    });
  }

  const baseBytes = base.path === null ? null : (await stat(base.path)).size;
  say(`\n${describeResult({ image, imagePath, baseBytes, events: caller.events })}`);
  if (imageType === 'touch' && base.path !== null) {
    const changes = await compareMembers(base.path, imagePath, join(directory, 'compared'), signal);
    say(`\n${describeMembers(changes).join('\n')}`);
  }
  const places = base.path === null ? [directory] : [directory, baseImageCache];
  say(`\nEverything that was started has been stopped. What stays, to be used again, can be removed with`);
  say(`  rm -r ${places.map(shown).join(' ')}`);
}

/** Settings that point `serve` at the private OpenStack. Its password is a secret, in a file, like everywhere. */
async function openStackSettings({ environment }: OpenStack): Promise<Record<string, string>> {
  const { OS_PASSWORD: password = '', ...variables } = environment;
  const secrets = join(directory, 'secrets');
  await mkdir(secrets, { recursive: true, mode: 0o700 });
  await writeFile(join(secrets, secretFiles.openstackPassword.file), password, { mode: 0o600 });
  return { ...variables, IMAGEBUILDER_SECRETS_DIRECTORY: secrets };
}

/** Shows the image as the `openstack` command sees it, and downloads it with that command. */
async function readBack(openStack: OpenStack, imageId: string): Promise<string> {
  return await step('What Glance has', async () => {
    say((await openStack.command(['image', 'show', imageId])).stdout.replace(/^/gm, '    '));
    const path = join(directory, 'from-glance.qcow2');
    await openStack.command(['image', 'save', '--file', path, imageId]);
    detail(`fetched again from Glance: ${shown(path)}`);
    return path;
  });
}

/** A folder of an earlier run as root is closed to other users; its message says so better than the first file in it. */
async function makeOwnFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
    await access(path, constants.W_OK);
  } catch (cause) {
    throw new ImageBuilderError(
      'internal',
      `this user may not write to ${shown(path)}; where an earlier run as root has made it, remove it as root`,
      { cause },
    );
  }
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** One quickstart at a time in a checkout, since they share their caches and port 8000. */
async function takeTurn(): Promise<AsyncDisposable> {
  const turn = await tryLock(join(directory, 'lock'));
  if (turn !== null) return turn;
  throw new ImageBuilderError('internal', 'a quickstart is running in this folder already; wait for its end');
}

function sayPlan(): void {
  const making = {
    cloud: 'a cloud image (a minute and a half; once a week)',
    cd: 'a live medium (three minutes; once a week)',
    touch: 'an armhf root file system (a minute or two; once a week)',
  } as const;
  const base =
    options.baseImage === undefined
      ? `make ${making[imageType]} of this machine's own release from its own mirror`
      : `download ${options.baseImage} (once)`;
  const duration = guest === 'vm' ? 'half a minute with KVM, some minutes without' : 'half a minute';
  say(`Image Builder's quickstart will

  1. ${base}
  2. start a private RabbitMQ, a server with a PPA${options.openstack ? ', Keystone and Glance,' : ','} and Image Builder itself, on this machine only (15 seconds)
  3. have Image Builder add the PPA and its packages to the image (${duration})${
    options.boot ? '\n  4. boot the new image in an emulated machine (one to three minutes)' : ''
  }

and then stop all of it; Ctrl-C does so before. It writes below ${shown(directory)}, 2 GB while the image is made and 1 GB in
the end. The image of an earlier quickstart is replaced.`);
  if (!isRoot && guest === 'vm') {
    say('This user is not root, so the image is opened in a small vm (the vm guest), which needs no privileges.');
  }
}

async function step<Value>(name: string, action: () => Promise<Value>): Promise<Value> {
  interrupted.signal.throwIfAborted();
  const started = performance.now();
  say(`\n== ${name}`);
  const value = await action();
  say(`   done in ${formatSeconds((performance.now() - started) / 1000)}`);
  return value;
}

function logFile(): string {
  return join(directory, 'serve.log');
}

function shown(path: string): string {
  return relative(process.cwd(), path) || '.';
}

function detail(line: string): void {
  say(`   ${line}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
