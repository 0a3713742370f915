import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { secretFiles } from '#lib/config/secrets.ts';
import type { Fleet } from '../../lab/fleet/fleet.ts';
import type { FunctionProcess } from '../../lab/servers/function.ts';
import { type OpenStack, startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { MiB, never } from '../conformance/finished-build.ts';
import { assertInOrder } from '../system/faults/events.ts';
import { buildOver, kill, scenarios, startNext } from '../system/faults/scenarios.ts';
import { type Client, connect, storeInCloud } from '../system/store-cloud.ts';

/** Workers killed in the middle of uploads to a real Glance and a real Swift: nothing unfinished stays there. */

const segmentBytes = 16 * MiB;
let cloud: OpenStack;
let client: Client;
let directory: string;

const scenario = scenarios(async () => {
  directory = await mkdtemp(join(tmpdir(), 'survive-store-'));
  cloud = await startOpenStack();
  client = await connect(cloud);
  const { OS_PASSWORD: password = '', ...variables } = cloud.environment;
  const secrets = join(directory, 'secrets');
  await mkdir(secrets);
  await writeFile(join(secrets, secretFiles.openstackPassword.file), password);
  return {
    settings: {
      ...variables,
      IMAGEBUILDER_SECRETS_DIRECTORY: secrets,
      IMAGEBUILDER_SWIFT_SEGMENT_SIZE: String(segmentBytes),
    },
  };
});

test.after(async () => {
  await cloud[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** Kills the worker with a part of the image in Glance, and the record there in the state that says so. */
async function killDuringUploadToGlance(buildId: string, worker: FunctionProcess): Promise<void> {
  const states = async () => (await client.glance.list(buildId, { signal: never })).map(({ status }) => status);
  while (!(await states()).includes('saving')) await sleep(1);
  cloud.glance.pause();
  try {
    await kill(worker);
  } finally {
    cloud.glance.resume();
  }
  assert.not.equal(await states(), ['active'], 'it was not in the middle of the upload');
}

scenario('killed while it uploads to Glance: no unfinished record stays', async (fleet) => {
  const { buildId, event } = await buildOver(fleet, ['libfoo'], killDuringUploadToGlance);
  const images = await client.glance.list(buildId, { signal: never });
  assert.equal(
    images.map(({ id, status }) => [id, status]),
    [[event.image?.id, 'active']],
  );
});

scenario('a build that is given up leaves no record in Glance', async (fleet) => {
  await giveUp(fleet, {}, killDuringUploadToGlance);
  const { stdout } = await cloud.command(['image', 'list', '--format', 'json', '--long']);
  const states = (JSON.parse(stdout) as { Status: string }[]).map(({ Status }) => Status);
  assert.equal(
    states.filter((status) => status !== 'active'),
    [],
  );
});

const toSwift = { IMAGEBUILDER_STORE: 'swift' };

/** Kills the worker with some of the image's segments in Swift. */
async function killDuringUploadToSwift(buildId: string, worker: FunctionProcess): Promise<void> {
  while ((await segments(buildId)).length === 0) await sleep(1);
  cloud.swift.proxy.pause();
  try {
    await kill(worker);
  } finally {
    cloud.swift.proxy.resume();
  }
  const names = (await objects(buildId)).map(({ name }) => name);
  assert.equal(
    names.filter((name) => name.endsWith('.qcow2')),
    [],
    'it was not in the middle',
  );
}

const objects = (buildId: string) => client.container.list(`${buildId}/`, { signal: never });
const segments = (buildId: string) => client.container.list(`.segments/${buildId}/`, { signal: never });

scenario('killed while it uploads to Swift: no segment stays but those of the image', async (fleet) => {
  const { buildId, event } = await buildOver(fleet, ['libfoo'], killDuringUploadToSwift, toSwift, toSwift);
  const manifest = await client.container.getManifest(event.image?.id ?? '', { signal: never });
  assert.ok(manifest.length > 1, 'the image is segmented');
  assert.equal(
    (await segments(buildId)).map(({ name }) => name).sort(),
    manifest.map(({ name }) => name.replace(/^\/?[^/]+\/(?=\.segments)/, '')).sort(),
  );
});

scenario('a build that is given up leaves nothing in Swift', async (fleet) => {
  const buildId = await giveUp(fleet, toSwift, killDuringUploadToSwift);
  assert.equal([await segments(buildId), await objects(buildId)], [[], []]);
});

scenario('an image that was made before goes into Glance and into Swift once more', async (fleet) => {
  const kept = { IMAGEBUILDER_FINISHED_CACHE_SIZE: '2G' };
  const build = async () => {
    const { buildId } = await fleet.submit(fleet.request());
    const { event } = await fleet.ended(buildId);
    assert.is(event.state, 'completed', event.error?.message);
    return event;
  };
  await startNext(fleet, kept);
  const made = await build();
  const again = [await build()];
  await fleet.killWorkers();
  await startNext(fleet, { ...kept, ...toSwift });
  again.push(await build());
  assert.equal(
    again.map(({ image }) => image?.store),
    ['glance', 'swift'],
  );
  for (const { build_id, image } of again) {
    assert.ok(image);
    assert.is(image.reused?.build_id, made.build_id);
    assert.equal(image.checksums, made.image?.checksums);
    const content = await storeInCloud(cloud, client).read(image);
    assert.is(createHash('sha512').update(content).digest('hex'), image.checksums.sha512, build_id);
  }
});

/** A build for which the one attempt that it is allowed is lost. */
async function giveUp(fleet: Fleet, settings: Record<string, string>, fault: typeof killDuringUploadToGlance) {
  const once = { ...settings, IMAGEBUILDER_MAXIMUM_ATTEMPTS: '1' };
  const first = await startNext(fleet, once);
  const { buildId } = await fleet.submit(fleet.request());
  await fault(buildId, first);
  await startNext(fleet, once);
  const { event } = await fleet.ended(buildId);
  assert.equal([event.state, event.error?.code], ['failed', 'build.attempts_exhausted']);
  assertInOrder(await fleet.notifications(buildId));
  return buildId;
}

test.run();
